//! Wire types of the HTTP API, request parsing, and the OpenAPI document.
