// SPDX-License-Identifier: Apache-2.0

//! Streams of gzip (RFC 1952) and Zstandard (RFC 8878).

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;
use memchr::memmem;

use super::source::{Fault, Source};

/// First bytes of a member: identification and the one method of compression.
pub(super) const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b, 8];
/// First bytes of a frame.
pub(super) const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Returns a decoder of Zstandard frames, one after another.
pub(super) fn zstd(source: Source) -> io::Result<impl Read + Send + use<>> {
    zstd::stream::read::Decoder::with_buffer(source)
}

/// Decoder of gzip members, one after another.
///
/// It reports damage once and goes on with the next member, because WARC files have a member for
/// each record.
pub(super) struct GzipMembers(State);

enum State {
    Between(Source),
    /// Decoder of a member, and whether it gave bytes.
    Inside(Box<GzDecoder<Source>>, bool),
    Ended,
}

impl GzipMembers {
    pub(super) fn new(source: Source) -> Self {
        Self(State::Between(source))
    }

    /// Starts the next member. Zeros between members are padding, as of tapes.
    fn begin(&mut self, mut source: Source) -> io::Result<()> {
        loop {
            let bytes = source.fill_buf()?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            if bytes.is_empty() {
                return Ok(());
            }
            if zeros == 0 {
                break;
            }
            source.skip(zeros);
        }
        if source.fill(GZIP_MAGIC.len()).starts_with(GZIP_MAGIC) {
            source.mark();
            self.0 = State::Inside(Box::new(GzDecoder::new(source)), false);
            return Ok(());
        }
        self.recover(source);
        let reason = "damaged: bytes after a gzip member that are no member";
        Err(io::Error::other(Fault::Between(reason.into())))
    }

    /// Finds the next member behind damage, which a damaged member may have run into.
    fn recover(&mut self, mut source: Source) {
        source.rewind();
        source.skip(1);
        loop {
            let bytes = source.fill(GZIP_MAGIC.len());
            if bytes.len() < GZIP_MAGIC.len() {
                source.skip(GZIP_MAGIC.len());
                break;
            }
            if let Some(at) = memmem::find(bytes, GZIP_MAGIC) {
                source.skip(at);
                break;
            }
            let passed = bytes.len() + 1 - GZIP_MAGIC.len();
            source.skip(passed);
        }
        self.0 = State::Between(source);
    }
}

impl Read for GzipMembers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.0, State::Ended) {
                State::Ended => return Ok(0),
                State::Between(source) => self.begin(source)?,
                State::Inside(mut decoder, is_begun) => match decoder.read(buffer) {
                    Ok(0) if !buffer.is_empty() => {
                        self.0 = State::Between(decoder.into_inner());
                    }
                    Err(error) => {
                        self.recover(decoder.into_inner());
                        return Err(match Fault::from(error) {
                            Fault::Refused(reason) if !is_begun => {
                                io::Error::other(Fault::Between(reason))
                            }
                            fault => io::Error::other(fault),
                        });
                    }
                    read => {
                        self.0 = State::Inside(decoder, true);
                        return read;
                    }
                },
            }
        }
    }
}
