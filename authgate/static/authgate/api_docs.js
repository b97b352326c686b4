"use strict";
const { schema, csrfCookie } = document.getElementById("api").dataset;

function csrfToken() {
  const pairs = document.cookie.split("; ").map((pair) => pair.split("="));
  return pairs.find(([name]) => name === csrfCookie)?.[1] ?? "";
}

SwaggerUIBundle({
  url: schema,
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor(request) {
    request.headers["X-CSRFToken"] = csrfToken();
    return request;
  },
});
