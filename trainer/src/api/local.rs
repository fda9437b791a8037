// SPDX-License-Identifier: Apache-2.0

//! Local epochs, one at a time: a model of the library learns from a text, and a new model of the
//! library is written.

use super::epoch::Epoch;
use crate::{
    control::{Control, LocalEpoch, LocalState, WorkEvent},
    display::utc_now,
    error::explain,
};
use anyhow::Result;
use pol_api::ApiError;
use pol_import::{ImportReport, SPEC_FILE, load};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// Longest name of a model in the library, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Trainer of local epochs. Clones are the same.
#[derive(Clone)]
pub(super) struct LocalTrainer {
    library: Option<Arc<Path>>,
    control: Control,
    /// The last epoch.
    current: watch::Sender<Option<LocalEpoch>>,
    /// Number of the newest epoch that is not wanted any more.
    cancelled: Arc<AtomicU64>,
}

/// An epoch to train.
struct Work {
    id: u64,
    from: PathBuf,
    out: PathBuf,
    text: String,
}

impl LocalTrainer {
    /// Creates a trainer of the models in `library`, if there is one.
    pub(super) fn new(library: Option<PathBuf>, control: Control) -> Self {
        let (current, cancelled) = (watch::Sender::new(None), Arc::default());
        Self { library: library.map(Into::into), control, current, cancelled }
    }

    /// Returns `true` if there is a library.
    pub(super) fn is_there(&self) -> bool {
        self.library.is_some()
    }

    /// Returns the last epoch.
    pub(super) fn current(&self) -> Option<LocalEpoch> {
        self.current.borrow().clone()
    }

    /// Starts an epoch of `model` on `text`, which makes the model `out`.
    ///
    /// # Errors
    ///
    /// Fails without a library, for names that are none, without such a model, where `out` exists,
    /// and while another epoch runs.
    pub(super) fn start(&self, model: String, out: String, text: String) -> Result<(), ApiError> {
        let library = self.library.as_deref().ok_or_else(|| {
            ApiError::Conflict(
                "this process has no library of models; start it with --library DIR".into(),
            )
        })?;
        let from = library.join(checked_name("model", &model)?);
        let to = library.join(checked_name("out", &out)?);
        if !from.join(SPEC_FILE).is_file() {
            let detail = format!(
                "the library has no model '{model}'; GET /pretrained-models lists those that are \
                 there"
            );
            return Err(ApiError::Missing(detail));
        }
        // A link that leads nowhere is something too.
        if to.symlink_metadata().is_ok() {
            let detail = format!("the library has '{out}' already; choose another name");
            return Err(ApiError::parameter("out", detail));
        }
        if text.trim().is_empty() {
            return Err(ApiError::parameter("text", "the text is empty; send one to learn from"));
        }
        let id = self.claim(model, out)?;
        let work = Work { id, from, out: to, text };
        tokio::spawn(self.clone().supervise(work));
        Ok(())
    }

    /// Notes a new epoch unless one runs, and returns its number.
    fn claim(&self, model: String, out: String) -> Result<u64, ApiError> {
        let mut id = None;
        self.current.send_if_modified(|current| {
            let (is_busy, last) = current
                .as_ref()
                .map_or((false, 0), |last| (last.state == LocalState::Running, last.id));
            if !is_busy {
                let (number, started) = (last.saturating_add(1), utc_now());
                id = Some(number);
                let begun = LocalEpoch { id: number, model, out, started, ..LocalEpoch::default() };
                *current = Some(begun);
            }
            !is_busy
        });
        id.ok_or_else(|| {
            let reason = "an epoch is trained already; wait for its end, or cancel it";
            ApiError::Conflict(reason.into())
        })
    }

    /// Stops the epoch that runs, after the step under way.
    pub(super) fn cancel(&self) {
        if let Some(current) = self.current() {
            self.cancelled.store(current.id, Ordering::Relaxed);
        }
    }

    /// Trains an epoch on a thread of its own, and notes its end.
    async fn supervise(self, work: Work) {
        let trainer = self.clone();
        let done = tokio::task::spawn_blocking(move || trainer.train(work)).await;
        let done = done.unwrap_or_else(|error| Err(error.into()));
        self.change(|epoch| match done {
            Ok(Some(report)) => {
                epoch.state = LocalState::Done;
                epoch.root = Some(format!("0x{}", hex::encode(report.root)));
            }
            Ok(None) => epoch.state = LocalState::Cancelled,
            Err(error) => {
                epoch.state = LocalState::Failed;
                epoch.error = Some(explain(&error));
            }
        });
    }

    /// Trains an epoch and writes its model. Returns `None` if it was cancelled.
    fn train(&self, work: Work) -> Result<Option<ImportReport>> {
        let Work { id, from, out, text } = work;
        let is_wanted = || self.cancelled.load(Ordering::Relaxed) < id;
        let mut model = load(&from)?;
        let epoch = Epoch::new(&model, &text)?;
        let machine = pol_hardware::detect(&out)?;
        let workers = epoch.workers(&machine, pol_hardware::memory()?.available_bytes)?;
        pol_hardware::require_disk(&out, (model.parameters.len() as u64).saturating_mul(4))?;
        let steps = epoch.steps();
        self.change(|state| state.steps = steps);
        if !is_wanted() {
            return Ok(None);
        }
        let parameters = std::mem::take(&mut model.parameters);
        let trained = epoch.train(parameters, workers, |step, loss| {
            self.change(|state| {
                (state.step, state.loss) = (step, Some(loss));
                state.share = f64::from(step) / f64::from(steps.max(1));
            });
            is_wanted()
        })?;
        let Some(parameters) = trained else { return Ok(None) };
        let note = format!(
            "trained on a text of {} tokens in {steps} steps, from the model 0x{}",
            epoch.tokens,
            hex::encode(model.root)
        );
        model.report.notes.push(note);
        model.report.tensors.clear();
        model.parameters = parameters;
        Ok(Some(model.save(&out, false)?))
    }

    /// Changes the state of the epoch that runs, and tells those who listen.
    fn change(&self, change: impl FnOnce(&mut LocalEpoch)) {
        let mut changed = None;
        self.current.send_modify(|current| {
            if let Some(epoch) = current {
                change(epoch);
                changed = Some(epoch.clone());
            }
        });
        if let Some(epoch) = changed {
            self.control.send(WorkEvent::Local(epoch));
        }
    }
}

/// Returns a name of a model in the library: no path, and nothing that is hidden.
fn checked_name<'a>(parameter: &'static str, name: &'a str) -> Result<&'a str, ApiError> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let is_name = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.chars().all(allowed)
        && !name.starts_with('.');
    if is_name {
        return Ok(name);
    }
    let detail = format!(
        "{parameter} must be a name of up to {MAX_NAME_BYTES} letters, digits, '-', '_', and '.', \
         and not begin with '.'"
    );
    Err(ApiError::parameter(parameter, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trainer(library: &Path) -> LocalTrainer {
        LocalTrainer::new(Some(library.to_owned()), Control::default())
    }

    fn refusal(trainer: &LocalTrainer, model: &str, out: &str, text: &str) -> String {
        trainer.start(model.into(), out.into(), text.into()).unwrap_err().to_string()
    }

    #[test]
    fn names_are_no_paths() {
        for name in ["a", "smollm2", "A-b_c.1"] {
            assert!(checked_name("out", name).is_ok(), "{name}");
        }
        let long = "a".repeat(MAX_NAME_BYTES + 1);
        for name in
            ["", ".", "..", "../a", "a/b", "/a", "a\\b", ".hidden", "a b", "ä", "a\0", &long]
        {
            assert!(checked_name("out", name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn requests_that_cannot_be_met_are_explained() {
        let folder = tempfile::tempdir().unwrap();
        let trainer = trainer(folder.path());
        assert!(refusal(&trainer, "../x", "a", "t").contains("model must be a name"));
        assert!(refusal(&trainer, "none", "a", "t").contains("no model 'none'"));
        std::fs::create_dir(folder.path().join("here")).unwrap();
        std::fs::write(folder.path().join("here").join(SPEC_FILE), "{}").unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.path().join("link")).unwrap();
        assert!(refusal(&trainer, "here", "here", "t").contains("already"));
        assert!(refusal(&trainer, "here", "link", "t").contains("already"));
        assert!(refusal(&trainer, "here", "new", " \n").contains("empty"));
        let without = LocalTrainer::new(None, Control::default());
        assert!(refusal(&without, "here", "new", "t").contains("--library"));
    }

    #[tokio::test]
    async fn a_damaged_model_ends_its_epoch_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bad")).unwrap();
        std::fs::write(folder.path().join("bad").join(SPEC_FILE), "{}").unwrap();
        let trainer = trainer(folder.path());
        let mut changes = trainer.current.subscribe();
        trainer.start("bad".into(), "new".into(), "text".into()).unwrap();
        let ended = |epoch: &Option<LocalEpoch>| {
            epoch.as_ref().is_some_and(|epoch| epoch.state != LocalState::Running)
        };
        let epoch = changes.wait_for(ended).await.unwrap().clone().unwrap();
        assert_eq!((epoch.id, epoch.state), (1, LocalState::Failed));
        assert!(epoch.error.is_some() && !folder.path().join("new").exists());
    }

    #[test]
    fn there_is_one_epoch_at_a_time() {
        let trainer = LocalTrainer::new(None, Control::default());
        assert_eq!(trainer.claim("a".into(), "b".into()).unwrap(), 1);
        let busy = trainer.claim("a".into(), "c".into()).unwrap_err();
        assert!(matches!(busy, ApiError::Conflict(_)), "{busy}");
        trainer.change(|epoch| epoch.state = LocalState::Cancelled);
        assert_eq!(trainer.claim("a".into(), "c".into()).unwrap(), 2);
    }
}
