// SPDX-License-Identifier: Apache-2.0

//! Lines about long waits, so that a run is not taken for one that hangs.

use crate::print_progress;
use std::{
    pin::pin,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Shortest wait that is told, and shortest time between two lines of all waits together.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lines of this process.
static NOTICES: Mutex<Notices> = Mutex::new(Notices { last: None });

/// Lines of waits that may be under way at the same time.
struct Notices {
    /// Time of the last line.
    last: Option<Instant>,
}

impl Notices {
    /// Returns a line about a wait that began at `since`, unless it began or another line was
    /// written a short time before `now`.
    fn line(&mut self, event: &str, since: Instant, now: Instant) -> Option<String> {
        let quiet_since = self.last.map_or(since, |last| last.max(since));
        if now.saturating_duration_since(quiet_since) < INTERVAL {
            return None;
        }
        self.last = Some(now);
        let seconds = now.saturating_duration_since(since).as_secs();
        Some(format!("waiting until {event}: {seconds} s so far"))
    }
}

/// Prints a line about a wait for `event` that began at `since`, if it is time for one.
pub(crate) fn notice(event: &str, since: Instant) {
    let mut notices = NOTICES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(line) = notices.line(event, since, Instant::now()) {
        print_progress(&line);
    }
}

/// Waits for a future, and prints lines about `event` meanwhile.
pub(crate) async fn with_notices<F: Future>(event: &str, wait: F) -> F::Output {
    let since = Instant::now();
    let mut wait = pin!(wait);
    loop {
        match tokio::time::timeout(INTERVAL, &mut wait).await {
            Ok(output) => return output,
            Err(_) => notice(event, since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_waits_are_told_and_one_at_a_time() {
        let (start, mut notices) = (Instant::now(), Notices { last: None });
        let mut line = |event: &str, since: u64, now: u64| {
            let at = |seconds| start + Duration::from_secs(seconds);
            notices.line(event, at(since), at(now))
        };
        assert_eq!(line("a", 0, 9), None);
        assert_eq!(line("a", 0, 12).unwrap(), "waiting until a: 12 s so far");
        assert_eq!((line("a", 0, 13), line("b", 1, 21)), (None, None));
        assert_eq!(line("b", 1, 22).unwrap(), "waiting until b: 21 s so far");
        assert_eq!(line("c", 40, 49), None, "the wait is a short one");
        assert!(line("c", 40, 50).is_some());
    }
}
