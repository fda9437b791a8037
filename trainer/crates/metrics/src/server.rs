// SPDX-License-Identifier: Apache-2.0

//! Endpoint at which metrics and the state of the process are read.

use crate::{CONTENT_TYPE, MetricsError, encode};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// Connections at a time. Others wait for their turn.
const MAX_CONNECTIONS: usize = 16;
/// Time for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time of a connection, which is one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Size of the head of a request, in bytes. It is the least that hyper takes.
const MAX_HEAD_BYTES: usize = 8_192;
/// Wait after a connection that could not be accepted, such as for lack of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Function that returns the reason why the process is not ready, or `None` if it is.
pub type Readiness = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Endpoint of this process. It answers `GET` for `/metrics`, for `/healthz`, which only shows that
/// the process runs, and for `/readyz`. It closes when this value is dropped.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), pol_metrics::MetricsError> {
/// let listen = ([127, 0, 0, 1], 0).into();
/// let endpoint = pol_metrics::Endpoint::start(listen, std::sync::Arc::new(|| None)).await?;
/// println!("http://{}/metrics", endpoint.address());
/// # Ok(())
/// # }
/// ```
pub struct Endpoint {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Listens on an address. A warning is logged if other machines reach it.
    ///
    /// # Errors
    ///
    /// Fails with [`MetricsError::Bind`] if the address is in use or not of this machine.
    pub async fn start(listen: SocketAddr, readiness: Readiness) -> Result<Self, MetricsError> {
        let bind = |source| MetricsError::Bind { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        if !address.ip().is_loopback() {
            tracing::warn!(
                "other machines can read the metrics at {address}, which show balances and the \
                 state of this machine; let a firewall or a proxy decide who may"
            );
        }
        Ok(Self { address, task: tokio::spawn(serve(listener, readiness)) })
    }

    /// Returns the address, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers connections, one request each.
async fn serve(listener: TcpListener, readiness: Readiness) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let readiness = readiness.clone();
                tokio::spawn(async move {
                    let _slot = slot;
                    let answered = timeout(CONNECTION_TIMEOUT, answer_one(stream, readiness)).await;
                    if let Ok(Err(error)) = answered {
                        tracing::debug!("a scrape broke off: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::debug!("cannot accept a connection: {error}");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn answer_one(stream: TcpStream, readiness: Readiness) -> hyper::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &readiness);
        async move { Ok::<_, Infallible>(response) }
    });
    http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

fn respond(method: &Method, path: &str, readiness: &Readiness) -> Response<Full<Bytes>> {
    let (status, body) = if *method != Method::GET && *method != Method::HEAD {
        (StatusCode::METHOD_NOT_ALLOWED, "use GET\n".to_owned())
    } else {
        match path {
            "/metrics" => (StatusCode::OK, encode()),
            "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => match readiness() {
                None => (StatusCode::OK, "ok\n".to_owned()),
                Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
            },
            _ => (StatusCode::NOT_FOUND, "see /metrics, /healthz, and /readyz\n".to_owned()),
        }
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static(CONTENT_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn endpoint(readiness: Readiness) -> Endpoint {
        Endpoint::start(([127, 0, 0, 1], 0).into(), readiness).await.unwrap()
    }

    /// Sends bytes and returns all that comes back.
    async fn exchange(endpoint: &Endpoint, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(endpoint.address()).await.unwrap();
        // The server may have answered before all is written.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn get(endpoint: &Endpoint, path: &str) -> String {
        exchange(endpoint, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await
    }

    #[tokio::test]
    async fn metrics_are_read_over_http() {
        let endpoint = endpoint(Arc::new(|| None)).await;
        crate::beacon_relay().pulses_total.inc();
        let answer = get(&endpoint, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain; version=0.0.4\r\n"), "{answer}");
        assert!(answer.contains("# TYPE pol_beacon_relay_pulses_total counter\n"), "{answer}");
    }

    #[tokio::test]
    async fn readiness_is_asked_each_time() {
        let is_ready = Arc::new(AtomicBool::new(false));
        let asked = is_ready.clone();
        let readiness = move || (!asked.load(Ordering::Relaxed)).then(|| "no block yet".to_owned());
        let endpoint = endpoint(Arc::new(readiness)).await;
        let answer = get(&endpoint, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("no block yet\n"));
        assert!(get(&endpoint, "/healthz").await.starts_with("HTTP/1.1 200 "));
        is_ready.store(true, Ordering::Relaxed);
        assert!(get(&endpoint, "/readyz").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn other_requests_are_refused() {
        let endpoint = endpoint(Arc::new(|| None)).await;
        assert!(get(&endpoint, "/").await.starts_with("HTTP/1.1 404 "));
        let post = exchange(&endpoint, b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(post.starts_with("HTTP/1.1 405 "), "{post}");
        let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(100_000));
        let answer = exchange(&endpoint, long.as_bytes()).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        for bytes in [&b"\x16\x03\x01\x02\x00\x01"[..], b"GET\0/metrics\r\n\r\n", b"\r\n\r\nx\r\n"]
        {
            let answer = exchange(&endpoint, bytes).await;
            assert!(!answer.contains("200 OK"), "{answer}");
        }
        assert!(get(&endpoint, "/healthz").await.starts_with("HTTP/1.1 200 "), "it goes on");
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let endpoint = endpoint(Arc::new(|| None)).await;
        let error = Endpoint::start(endpoint.address(), Arc::new(|| None)).await.err().unwrap();
        assert!(error.to_string().contains(&endpoint.address().to_string()), "{error}");
        assert!(error.to_string().contains("--metrics"), "{error}");
    }
}
