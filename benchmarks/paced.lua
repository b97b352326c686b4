-- Arguments after "--": milliseconds that each connection waits before each request, spread by half to each side
-- so that the connections do not march in step.

function init(args)
  pause = tonumber(args[1])
end

function delay()
  local wanted = pause * (0.5 + math.random())
  local whole = math.floor(wanted)
  if math.random() < wanted - whole then whole = whole + 1 end
  return whole
end
