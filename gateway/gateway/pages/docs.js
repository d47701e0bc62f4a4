// The browsable API, from the wheel of Swagger UI: nothing is fetched from elsewhere. Its version knows OpenAPI 3.0; what the document
// uses of 3.1 it shows all the same, once the version says 3.0.
fetch("/openapi.json").then((answer) => answer.json()).then((spec) => SwaggerUIBundle({
  spec: { ...spec, openapi: "3.0.3" },
  dom_id: "#ui",
  docExpansion: "none",
  requestInterceptor: (request) => {
    request.headers["X-Kehu-Client"] = "docs";
    return request;
  },
}));
