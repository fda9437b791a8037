// SPDX-License-Identifier: Apache-2.0

//! Text that a model writes.

mod certainty;
mod filters;
mod forms;
mod model;
mod prompts;

pub use certainty::{Calibration, CalibrationBin, CertaintyMeasure, CertaintyQuestions};
pub use filters::{Consistency, TextFilter};
pub use forms::{DrawnText, Form};
pub use model::{GeneratedText, ModelIdentity, SamplingParameters, TextModel, TextRequest};
pub use prompts::{PromptSet, PromptSource};

pub(crate) use certainty::{draw_task, validate_tasks};
pub(crate) use filters::Novelty;
