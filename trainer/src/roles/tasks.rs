// SPDX-License-Identifier: Apache-2.0

//! Work beside the loop over blocks.

use super::runner::{BlockHandler, OverviewSender, handle_newest};
use crate::error::{Result, RoleError};
use anyhow::anyhow;
use futures::future::join_all;
use pol_primitives::queries::Overview;
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

/// Longest wait of a role for work in the background, somewhat shorter than a block.
const STEP_TIMEOUT: Duration = Duration::from_secs(2);

/// A role in a task of its own, beside another role of the process. Neither waits for the other.
/// The task ends when this value is dropped.
pub(super) struct RoleTask {
    overviews: OverviewSender,
    task: JoinHandle<Result<()>>,
}

impl RoleTask {
    /// Starts a task for `role`.
    pub(super) fn new(mut role: impl BlockHandler + Send + 'static) -> Self {
        let (overviews, newest) = watch::channel(None);
        let task = tokio::spawn(async move { handle_newest(&mut role, newest).await });
        Self { overviews, task }
    }

    /// Returns the sender of overviews to the role, which handles each once it is done with the one
    /// before. Of those that come while it is busy, it handles the newest.
    pub(super) fn sender(&self) -> OverviewSender {
        self.overviews.clone()
    }

    /// Passes `overview` to the role.
    ///
    /// # Errors
    ///
    /// Returns the fatal error that ended the role.
    pub(super) async fn on_block(&mut self, overview: &Overview) -> Result<()> {
        self.check().await?;
        self.overviews.send_replace(Some(overview.clone()));
        Ok(())
    }

    /// Checks that the role goes on.
    ///
    /// # Errors
    ///
    /// Returns the fatal error that ended the role.
    pub(super) async fn check(&mut self) -> Result<()> {
        if self.task.is_finished() { (&mut self.task).await? } else { Ok(()) }
    }
}

impl Drop for RoleTask {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Request to a computation to end early, made once nobody waits for its result any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Returns `true` if the computation should end.
    pub(super) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Fails if the computation should end.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_requested() {
            return Err(RoleError::transient(anyhow!("the result is not needed any more")));
        }
        Ok(())
    }
}

/// Guard that requests a stop when it is dropped.
struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Returns the result of `work`, which runs on a thread that may compute.
///
/// Dropping this future does not end the thread. It asks `work` to stop, which should look at its
/// argument between steps and own the guards of its turn.
pub(super) async fn compute<T: Send + 'static>(
    work: impl FnOnce(&Stop) -> Result<T> + Send + 'static,
) -> Result<T> {
    let stop = Stop::default();
    let _request = StopOnDrop(stop.clone());
    tokio::task::spawn_blocking(move || work(&stop)).await?
}

/// Work that goes on between blocks. It ends when this value is dropped, and computations that it
/// [awaits](compute) are asked to stop.
pub(super) struct BackgroundTask<T>(JoinHandle<Result<T>>);

impl<T: Send + 'static> BackgroundTask<T> {
    /// Starts `work` in a task.
    pub(super) fn start(work: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Returns the result of the work, or `None` if it is not done within [`STEP_TIMEOUT`].
    pub(super) async fn wait(&mut self) -> Option<Result<T>> {
        let done = tokio::time::timeout(STEP_TIMEOUT, &mut self.0).await.ok()?;
        Some(done.unwrap_or_else(|error| Err(error.into())))
    }
}

impl<T> Drop for BackgroundTask<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Does all of `work` at the same time, since every submission waits for a block, and returns the
/// results. A transient error is logged and leaves out its result only.
///
/// # Errors
///
/// Returns the first fatal error.
pub(super) async fn join_logged<T>(
    work: impl IntoIterator<Item = impl Future<Output = Result<T>>>,
) -> Result<Vec<T>> {
    let mut done = Vec::new();
    for result in join_all(work).await {
        match result {
            Ok(result) => done.push(result),
            Err(error) => error.log_transient()?,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn dropped_work_gives_up_its_turn_between_steps() {
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        let (begin, begun) = mpsc::channel();
        let task = BackgroundTask::start({
            let turn = turn.clone();
            async move {
                let guard = turn.lock_owned().await;
                compute(move |stop| {
                    let _guard = guard;
                    begin.send(()).map_err(RoleError::fatal)?;
                    while stop.check().is_ok() {
                        std::thread::yield_now();
                    }
                    stop.check()
                })
                .await
            }
        });
        tokio::task::spawn_blocking(move || begun.recv()).await.unwrap().unwrap();
        assert!(turn.try_lock().is_err(), "the thread holds the turn");
        drop(task);
        let freed = tokio::time::timeout(Duration::from_secs(10), turn.lock()).await;
        assert!(freed.is_ok(), "the thread was not asked to stop");
    }

    #[tokio::test]
    async fn computations_that_are_awaited_are_not_stopped() {
        let done = compute(|stop| Ok(stop.is_requested())).await;
        assert!(matches!(done, Ok(false)));
    }
}
