//! The client against the local stack, and against the OpenAPI document.

mod operations;
mod protecting;
mod sending;
mod served;
mod support;
