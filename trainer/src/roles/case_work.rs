// SPDX-License-Identifier: Apache-2.0

//! Work of a seat on the cases of an audit, and the results that it has so far.
//!
//! Cases do not wait for each other: a result counts as soon as it is there, an error that time may
//! mend delays its own case only, and a stage that ends takes along what is unfinished.

use super::tasks::BackgroundTask;
use crate::error::{Result, RoleError, explain, note_full_disk};
use pol_primitives::round::BlockNumber;
use std::{
    collections::BTreeMap,
    fmt::Display,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Pause before work is repeated, about a block.
const RETRY_PAUSE: Duration = Duration::from_secs(3);

/// Results of cases by their places in the audit. Clones are handles to the same results.
pub(super) struct CaseResults<T>(Arc<Mutex<BTreeMap<u8, T>>>);

impl<T> Clone for CaseResults<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> CaseResults<T> {
    /// Creates an empty collection.
    fn new() -> Self {
        Self(Arc::default())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds results, each in place of an earlier one of its case. A reader sees all or none.
    pub(super) fn extend(&self, results: impl IntoIterator<Item = (u8, T)>) {
        self.lock().extend(results);
    }

    /// Returns the results so far, in the order of the cases.
    fn so_far(&self) -> Vec<(u8, T)> {
        self.lock().iter().map(|(place, result)| (*place, result.clone())).collect()
    }
}

/// Work on the cases of an audit in the background. It ends when this value is dropped.
pub(super) struct CaseWork<T> {
    task: BackgroundTask<()>,
    results: CaseResults<T>,
    /// Block from which on the results so far have to do.
    due: BlockNumber,
}

impl<T: Clone + Send + 'static> CaseWork<T> {
    /// Starts `work`, which adds the result of each case once it is there. From block `due` on, the
    /// results so far have to do.
    pub(super) fn start<F>(due: BlockNumber, work: impl FnOnce(CaseResults<T>) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let results = CaseResults::new();
        Self { task: BackgroundTask::start(work(results.clone())), results, due }
    }

    /// Returns the results of the cases that have one once the work is done, or `None` while it
    /// goes on.
    pub(super) async fn wait(&mut self) -> Option<Result<Vec<(u8, T)>>> {
        let done = self.task.wait().await?;
        Some(done.map(|()| self.results.so_far()))
    }

    /// Returns the results so far if they have to do at block `now`, and `None` if there are none.
    pub(super) fn due_results(&self, now: BlockNumber) -> Option<Vec<(u8, T)>> {
        let results = if now < self.due { Vec::new() } else { self.results.so_far() };
        (!results.is_empty()).then_some(results)
    }
}

/// Returns the result of `work`, which is repeated after each error that time may mend. It is
/// logged as `what`. Nothing else bounds the tries: whoever waits drops this future.
///
/// # Errors
///
/// Returns the first fatal error.
pub(super) async fn until_done<T, F>(what: impl Display, mut work: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    loop {
        match work().await {
            Err(RoleError::Transient(error)) if note_full_disk(&error) => {}
            Err(RoleError::Transient(error)) => {
                tracing::warn!("{what}: {}; trying again", explain(&error));
            }
            done => return done,
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tasks::compute, *};
    use anyhow::anyhow;
    use futures::future::try_join_all;
    use std::sync::atomic::{AtomicU32, Ordering};

    const DUE: BlockNumber = 90;

    /// Starts work in which case 2 is done at once, case 5 at its second try, and case 9 computes
    /// under `turn` until it is stopped.
    fn work(turn: &Arc<tokio::sync::Mutex<()>>, tries: &Arc<AtomicU32>) -> CaseWork<&'static str> {
        let (turn, tries) = (turn.clone(), tries.clone());
        CaseWork::start(DUE, move |results| async move {
            let judge = async |place: u8| match place {
                2 => Ok("whole"),
                5 if tries.fetch_add(1, Ordering::Relaxed) == 0 => {
                    Err(RoleError::transient(anyhow!("the node does not answer")))
                }
                5 => Ok("late"),
                _ => {
                    let turn = turn.clone().lock_owned().await;
                    compute(move |stop| {
                        let _turn = turn;
                        while !stop.is_requested() {
                            std::thread::yield_now();
                        }
                        stop.check().map(|()| "never")
                    })
                    .await
                }
            };
            let cases = [9, 2, 5].map(async |place| {
                let result = until_done("a case", || judge(place)).await?;
                results.extend([(place, result)]);
                Ok::<_, RoleError>(())
            });
            try_join_all(cases).await.map(drop)
        })
    }

    #[tokio::test]
    async fn what_is_done_counts_when_the_stage_ends_and_the_rest_is_stopped() {
        let (turn, tries) = (Arc::default(), Arc::default());
        let mut work = work(&turn, &tries);
        assert!(work.wait().await.is_none(), "case 9 goes on");
        let first = work.due_results(DUE);
        assert!(first.is_some_and(|first| first.contains(&(2, "whole"))), "it waits for no other");
        while tries.load(Ordering::Relaxed) < 2 {
            assert!(work.wait().await.is_none());
        }
        assert!(work.wait().await.is_none());
        assert_eq!(work.due_results(DUE - 1), None, "there is time");
        assert_eq!(work.due_results(DUE), Some(vec![(2, "whole"), (5, "late")]));
        assert!(turn.try_lock().is_err(), "case 9 computes");
        drop(work);
        let freed = tokio::time::timeout(Duration::from_secs(10), turn.lock()).await;
        assert!(freed.is_ok(), "the computation was not stopped");
    }

    #[tokio::test]
    async fn without_a_result_nothing_is_due_and_fatal_errors_end_the_work() {
        let mut silent = CaseWork::<u8>::start(DUE, |_| async { Ok(()) });
        assert!(silent.wait().await.unwrap().unwrap().is_empty());
        assert_eq!(silent.due_results(DUE), None);
        let mut broken = CaseWork::<u8>::start(DUE, |_| {
            until_done("a case", || async { Err(RoleError::fatal(anyhow!("other numerics"))) })
        });
        assert!(matches!(broken.wait().await, Some(Err(RoleError::Fatal(_)))));
    }
}
