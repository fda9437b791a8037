// SPDX-License-Identifier: Apache-2.0

//! Reads of the chain that are repeated, since one unanswered request must not undo long work.

use crate::error::{Result, RoleError, explain, note_full_disk};
use std::{future::Future, time::Duration};

/// Waits before a failed read is repeated: a few blocks in all.
const WAITS: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// Returns the result of `read`, which is repeated a few times after a transient error.
///
/// # Errors
///
/// Returns the last error.
pub(super) async fn retried<T, E, F>(read: impl FnMut() -> F) -> Result<T>
where
    E: Into<RoleError>,
    F: Future<Output = Result<T, E>>,
{
    retried_after(&WAITS, read).await
}

async fn retried_after<T, E, F>(waits: &[Duration], mut read: impl FnMut() -> F) -> Result<T>
where
    E: Into<RoleError>,
    F: Future<Output = Result<T, E>>,
{
    for wait in waits {
        match read().await.map_err(Into::into) {
            Err(RoleError::Transient(error)) => {
                if !note_full_disk(&error) {
                    tracing::warn!("{}; reading again", explain(&error));
                }
                tokio::time::sleep(*wait).await;
            }
            done => return done,
        }
    }
    read().await.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    async fn read_after(failures: u32, fail: fn(anyhow::Error) -> RoleError) -> (Result<u32>, u32) {
        let mut reads = 0;
        let read = || {
            reads += 1;
            let done = if reads > failures { Ok(7) } else { Err(fail(anyhow!("no answer"))) };
            std::future::ready(done)
        };
        (retried_after(&[Duration::ZERO; 2], read).await, reads)
    }

    #[tokio::test]
    async fn reads_are_repeated_a_few_times_unless_only_a_person_can_help() {
        assert!(matches!(read_after(0, RoleError::Transient).await, (Ok(7), 1)));
        assert!(matches!(read_after(2, RoleError::Transient).await, (Ok(7), 3)));
        assert!(matches!(read_after(3, RoleError::Transient).await, (Err(_), 3)));
        assert!(matches!(read_after(1, RoleError::Fatal).await, (Err(RoleError::Fatal(_)), 1)));
    }
}
