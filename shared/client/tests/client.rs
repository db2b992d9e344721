//! The client against the local stack, and against the OpenAPI document.

mod operations;
mod sending;
mod support;
