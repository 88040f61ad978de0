//! What the documents say, as tests: one module for each document, one file for each section, and each
//! test's name is the sentence that it holds.

mod ethernet;
mod properties;
mod rfc2131;
mod rfc2132;
mod rfc3396;
mod rfc3397;
mod rfc3442;
mod rfc6842;
mod rfc768;
mod rfc791;
mod support;
