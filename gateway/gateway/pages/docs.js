// The browsable API, from the wheel of Swagger UI: nothing is fetched from elsewhere.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#ui",
  docExpansion: "none",
  requestInterceptor: (request) => {
    request.headers["X-Kehu-Client"] = "docs";
    return request;
  },
});
