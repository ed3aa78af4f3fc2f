"""The OpenAPI document of a gateway, made of the rows of its routes."""
