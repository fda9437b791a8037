// SPDX-License-Identifier: Apache-2.0

//! Connections, within limits.

use crate::{
    access::network, clients::Clients, error::ApiError, frame::Peer, observe::refuse,
    stream::ClientStream,
};
use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

/// Pause after the system refused a connection, as it does without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Longest time in which a client that is refused may send the rest, which is not read.
const LINGER: Duration = Duration::from_secs(2);
/// Most clients with too many connections that are told so at a time. Others are just refused.
const REFUSALS: usize = 16;
/// Most bytes of that rest, without which the client may lose the answer.
const LINGER_BYTES: usize = 1 << 20;

/// Limits of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of connections. Others wait in the queue of the system.
    pub connections: usize,
    /// Largest number of connections of one client: an address, or a network of 64 bits of IPv6.
    /// Further ones are refused.
    pub client_connections: usize,
    /// Largest size of the headers of a request, in bytes.
    pub header_bytes: usize,
    /// Largest number of headers.
    pub headers: usize,
    /// Longest time in which the headers of a request have to arrive, and for which a connection
    /// is kept without one.
    pub header_timeout: Duration,
    /// Longest time in which a client takes nothing of what is sent.
    pub write_timeout: Duration,
    /// Longest time for which a server that stops waits for answers under way.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            client_connections: 128,
            header_bytes: 16 << 10,
            headers: 64,
            header_timeout: Duration::from_secs(20),
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
        }
    }
}

/// Serves `router` on `listener` until `stop` is ready, and ends when all answers are given, or
/// when the time for that is over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    // Their metrics exist from the beginning.
    pol_metrics::http();
    let places = Arc::new(Semaphore::new(limits.connections.max(1)));
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let clients = Clients::default();
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = accepted => match accepted {
                Ok((stream, peer)) => {
                    let most = limits.client_connections.max(1);
                    let Some(client) = clients.enter(network(peer.ip()), most) else {
                        pol_metrics::http().refused_connections_total.inc();
                        if let Ok(refusal) = Arc::clone(&refusals).try_acquire_owned() {
                            connections.spawn(async move {
                                refuse_client(stream, limits).await;
                                drop(refusal);
                            });
                        }
                        continue;
                    };
                    let router = router.clone();
                    let connection = connect(stream, peer, router, limits, closed.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop((client, place));
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let _ = closing.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, drained).await.is_err() {
        tracing::warn!("{} answers are cut off", connections.len());
    }
}

/// Serves one connection until its end, or until its answer under way is given after `closed`.
async fn connect(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: Limits,
    mut closed: watch::Receiver<bool>,
) {
    // Events are small and must not wait for more.
    let _ = stream.set_nodelay(true);
    let _open = pol_metrics::http().connections.enter();
    let stream = TokioIo::new(ClientStream::new(stream, limits.write_timeout));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        router.call(request)
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.headers)
        .max_buf_size(limits.header_bytes.max(8 << 10))
        .serve_connection(stream, service);
    let served = tokio::select! {
        served = &mut connection => served,
        () = async { drop(closed.wait_for(|closed| *closed).await) } => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    let Err(error) = served else { return };
    tracing::debug!("a connection ended early: {error}");
    let parts = connection.into_parts();
    if let Some(problem) = find_problem(&error, parts.read_buf.is_empty(), limits) {
        pol_metrics::http().unreadable_requests_total.inc();
        let linger = LINGER.min(limits.header_timeout);
        let answer = explain(parts.io.into_inner().into_inner(), problem, linger);
        let _ = tokio::time::timeout(limits.write_timeout, answer).await;
    }
}

/// Tells a client that it has too many connections.
async fn refuse_client(stream: TcpStream, limits: Limits) {
    let problem = ApiError::Connections(limits.client_connections.max(1));
    let linger = LINGER.min(limits.header_timeout);
    let _ = tokio::time::timeout(limits.write_timeout, explain(stream, problem, linger)).await;
}

/// Returns the reason why a request could not be read, or `None` if there was none: a client may
/// end a connection, or leave it idle.
fn find_problem(error: &hyper::Error, is_idle: bool, limits: Limits) -> Option<ApiError> {
    if error.is_parse_too_large() {
        Some(ApiError::HeadSize { bytes: limits.header_bytes, count: limits.headers })
    } else if error.is_parse() {
        Some(ApiError::Malformed(error.to_string()))
    } else if error.is_timeout() && !is_idle {
        Some(ApiError::SlowHead(limits.header_timeout))
    } else {
        None
    }
}

/// Tells a client why its request was not read, and lets it send the rest for the time `linger`.
async fn explain(mut stream: TcpStream, problem: ApiError, linger: Duration) -> io::Result<()> {
    stream.write_all(&refuse(problem).await).await?;
    stream.shutdown().await?;
    // Bytes that nobody reads would make the system drop the answer on its way.
    let rest = async {
        let (mut rest, mut left) = ([0; 4_096], LINGER_BYTES);
        while left > 0
            && let Ok(count @ 1..) = stream.read(&mut rest).await
        {
            left = left.saturating_sub(count);
        }
    };
    let _ = tokio::time::timeout(linger, rest).await;
    Ok(())
}
