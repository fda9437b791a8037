// SPDX-License-Identifier: Apache-2.0

//! Socket of a peer, and the endpoint to register for it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use iroh::{
    SecretKey,
    endpoint::{QuicTransportConfig, presets},
};
use iroh_blobs::ALPN;
use pol_primitives::member::Endpoint;

use crate::{
    Result, SwarmError,
    error::is_io,
    limits::{REQUEST_WINDOW, REQUESTS_PER_CONNECTION, SEND_WINDOW},
};

/// Opens a socket without relays, discovery and port mapping, which contacts no one by itself.
pub(crate) async fn open_socket(secret: &[u8; 32], bind: SocketAddr) -> Result<iroh::Endpoint> {
    let refused = |reason| SwarmError::Bind { address: bind, reason };
    let config = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(REQUESTS_PER_CONNECTION.into())
        .max_concurrent_uni_streams(0u32.into())
        .stream_receive_window(REQUEST_WINDOW.into())
        .receive_window(REQUEST_WINDOW.into())
        .send_window(SEND_WINDOW)
        .build();
    let builder = iroh::Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(secret))
        .alpns(vec![ALPN.to_vec()])
        .transport_config(config)
        .clear_ip_transports()
        .bind_addr(bind)
        .map_err(|error| refused(error.to_string()))?;
    builder.bind().await.map_err(|error| match is_io(&error, &[io::ErrorKind::AddrInUse]) {
        true => SwarmError::PortInUse(bind),
        false => refused(format!("{error:#}")),
    })
}

/// Returns the endpoint to register: `advertise`, or the address that others probably reach.
pub(crate) fn endpoint_to_register(
    socket: &iroh::Endpoint,
    bind: SocketAddr,
    advertise: Vec<SocketAddr>,
) -> Result<Endpoint> {
    let bound = socket.bound_sockets().first().copied().unwrap_or(bind);
    let mut addresses = if advertise.is_empty() {
        vec![SocketAddr::new(reachable_address(bound.ip()), 0)]
    } else if let Some(address) = advertise.iter().find(|address| is_no_machine(address.ip())) {
        return Err(SwarmError::NoMachine(*address));
    } else {
        advertise
    };
    for address in addresses.iter_mut().filter(|address| address.port() == 0) {
        address.set_port(bound.port());
    }
    let count = addresses.len();
    let addresses: Vec<_> = addresses.into_iter().map(Into::into).collect();
    let addresses = addresses.try_into().map_err(|_| SwarmError::TooManyAddresses(count))?;
    Ok(Endpoint { id: *socket.id().as_bytes(), addresses })
}

/// Returns `true` for an address that stands for any machine, or for many.
fn is_no_machine(ip: IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    ip.is_unspecified() || ip.is_multicast() || is_broadcast
}

/// Returns the address at which others reach a socket bound to `ip`.
pub(crate) fn reachable_address(ip: IpAddr) -> IpAddr {
    if !ip.is_unspecified() {
        return ip;
    }
    // Connecting a UDP socket sends nothing; it only looks up the route. The addresses are reserved
    // for documentation.
    let (loopback, elsewhere): (IpAddr, IpAddr) = match ip {
        IpAddr::V4(_) => (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        IpAddr::V6(_) => {
            (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
        }
    };
    let routed = UdpSocket::bind((ip, 0)).and_then(|socket| {
        socket.connect((elsewhere, 9))?;
        socket.local_addr()
    });
    routed.map_or(loopback, |address| address.ip())
}
