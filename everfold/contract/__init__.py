"""The wire contract as documents: JSON Schema, AsyncAPI, CloudEvents; all of it from the code."""
