// SPDX-License-Identifier: Apache-2.0

use std::{io, net::SocketAddr};

/// Error of the endpoint.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address cannot be listened on.
    #[error(
        "metrics cannot be served at {address}: {source}; choose another address with --metrics, \
         or port 0 for any that is free"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Reason of the operating system.
        source: io::Error,
    },
}
