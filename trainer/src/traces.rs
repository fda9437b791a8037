// SPDX-License-Identifier: Apache-2.0

//! Traces of this process, which it sends if it is built with the feature `otlp`.

#[cfg(feature = "otlp")]
pub(crate) use pol_traces::Traces;

/// Traces of a process that is built without them.
#[cfg(not(feature = "otlp"))]
pub(crate) enum Traces {}

#[cfg(not(feature = "otlp"))]
impl Traces {
    pub(crate) fn from_env(_service: &str) -> Result<Option<Self>, std::convert::Infallible> {
        Ok(None)
    }

    pub(crate) fn layer(&self, _target: &str) -> tracing_subscriber::layer::Identity {
        match *self {}
    }

    pub(crate) fn finish(&self) {
        match *self {}
    }
}
