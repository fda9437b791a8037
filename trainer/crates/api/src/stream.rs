// SPDX-License-Identifier: Apache-2.0

//! Streams of clients.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Largest answer that hyper gives by itself, in bytes.
const MAX_AUTOMATIC_BYTES: usize = 256;

/// Stream of a client, whose bytes are counted.
///
/// It fails if nothing can be written for a time. A client that does not read would otherwise keep
/// its place for ever.
///
/// It holds back the answer without a body that hyper gives by itself to what it cannot read, so
/// that the server can give one with an explanation.
pub(crate) struct ClientStream<S> {
    stream: S,
    timeout: Duration,
    /// End of the time, while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
    has_held_back: bool,
}

impl<S: Unpin> ClientStream<S> {
    pub(crate) fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, timeout, deadline: None, has_held_back: false }
    }

    /// Performs a write, or fails if it waits for too long.
    fn within<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(written) = write(Pin::new(&mut self.stream), context) {
            self.deadline = None;
            return Poll::Ready(written);
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(self.timeout)));
        deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Returns the stream, with an end that was held back.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = buffer.filled().len().saturating_sub(before);
        pol_metrics::http().received_bytes_total.add(count as u64);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if is_automatic(bytes) {
            self.has_held_back = true;
            return Poll::Ready(Ok(bytes.len()));
        }
        counted(self.within(context, |stream, context| stream.poll_write(context, bytes)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [bytes] = parts {
            return self.poll_write(context, bytes);
        }
        counted(self.within(context, |stream, context| stream.poll_write_vectored(context, parts)))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.within(context, |stream, context| stream.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_held_back {
            return Poll::Ready(Ok(()));
        }
        self.within(context, |stream, context| stream.poll_shutdown(context))
    }
}

fn counted(written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    if let Poll::Ready(Ok(count)) = &written {
        pol_metrics::http().sent_bytes_total.add(*count as u64);
    }
    written
}

/// Returns `true` for an answer that hyper gives by itself. It has no body and, unlike every answer
/// of the server, no name.
fn is_automatic(bytes: &[u8]) -> bool {
    let has = |text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    bytes.len() <= MAX_AUTOMATIC_BYTES
        && bytes.starts_with(b"HTTP/1.")
        && bytes.ends_with(b"\r\n\r\n")
        && has(b"content-length: 0")
        && !has(b"x-request-id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_of_the_library_are_held_back() {
        let refused = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
            content-length: 0\r\ndate: Sat, 28 Nov 2026 23:40:00 GMT\r\n\r\n";
        assert!(is_automatic(refused));
        assert!(!is_automatic(b"HTTP/1.1 100 Continue\r\n\r\n"));
        assert!(!is_automatic(
            b"HTTP/1.1 204 No Content\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n"
        ));
        assert!(!is_automatic(b"{}"));
    }
}
