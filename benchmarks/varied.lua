-- Arguments after "--": a file with a token on each line, a seed, the number of threads, the number of clients that a
-- proxy in front speaks for (0: none is in front).
-- No request repeats the head of another one: each has a path, a query and a trace of its own, one of the tokens, one of
-- 400 user agents and, one in four, a cookie. One in five is a POST with a body of up to 300 bytes.

local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  tokens, count, step = {}, number, tonumber(args[3])
  for token in io.lines(args[1]) do
    table.insert(tokens, token)
  end
  math.randomseed(tonumber(args[2]) * 1000 + number)
  host, clients = wrk.headers["Host"], tonumber(args[4])
  body = string.rep("x", 300)
end

local function hex()
  return string.format("%08x", math.random(0, 4294967295))
end

function request()
  count = count + step
  local posted = math.random(5) == 1
  local length = posted and math.random(300) or 0
  local head = string.format(
    "%s /varied/%s/items/%d?page=%d&sort=%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n" ..
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Agent/%d.0\r\nAccept: application/json\r\n" ..
    "traceparent: 00-%s%s%s%s-%s%s-01\r\n",
    posted and "POST" or "GET", hex(), count, math.random(1000), hex(), host, tokens[math.random(#tokens)],
    math.random(400), hex(), hex(), hex(), hex(), hex(), hex()
  )
  if math.random(4) == 1 then
    head = head .. "Cookie: theme=dark; visit=" .. hex() .. "\r\n"
  end
  if clients > 0 then
    head = head .. "X-Forwarded-For: 2001:db8::" .. string.format("%x", math.random(clients)) .. "\r\n"
  end
  if posted then
    head = head .. "Content-Type: application/octet-stream\r\nContent-Length: " .. length .. "\r\n"
  end
  return head .. "\r\n" .. body:sub(1, length)
end
