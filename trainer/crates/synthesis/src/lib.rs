// SPDX-License-Identifier: Apache-2.0

//! Text that is made: tasks with proofs, and text drawn from models.
//!
//! A [`Recipe`] describes a synthetic source completely. It makes the same bytes on every machine,
//! and each document can be made again alone, so a manifest over them can be recomputed by anybody.
//!
//! | task | items |
//! |---|---|
//! | describe a source | [`Recipe`], [`Content`] |
//! | make documents | [`Recipe::documents`], [`Recipe::open`], [`Synthesizer`], [`Documents`] |
//! | prove tasks | [`Certificate`], [`Task`], [`Family`] |
//! | draw text from a model | [`TextModel`], [`PromptSet`], [`Consistency`], [`TextFilter`] |
//! | measure certainty | [`Calibration`], [`CertaintyMeasure`] |
//!
//! Nothing that decides bytes uses floating-point numbers, clocks, or the order of a hash table.
//! Each document spells its index, enciphered with the seed, in values that its text shows. No two
//! documents of a recipe of tasks are therefore equal, and nothing has to be remembered for that.
//!
//! # Examples
//!
//! ```
//! use pol_synthesis::Recipe;
//!
//! let recipe = Recipe::from_toml(
//!     r#"
//!     version = 1
//!     seed = "0x0707070707070707070707070707070707070707070707070707070707070707"
//!     documents = 3
//!     [content.tasks]
//!     families = ["arithmetic", "logic"]
//!     levels = [1, 3]
//!     "#,
//! )?;
//! for made in recipe.documents()? {
//!     let made = made?.expect("tasks are never refused");
//!     // The certificate proves every statement of the text.
//!     made.certificate.expect("tasks have one").verify(&made.document.bytes)?;
//! }
//! # Ok::<(), pol_synthesis::SynthesisError>(())
//! ```

mod documents;
mod draws;
mod error;
mod expression;
mod recipe;
pub mod tasks;
mod text;
mod words;

pub use documents::{Documents, Resources, Synthesizer, Synthetic};
pub use error::{ModelError, Rejection, SynthesisError};
pub use recipe::{Content, GENERATOR_VERSION, Recipe, Tasks};
pub use tasks::{Certificate, Family, Level, Task};
pub use text::{
    Calibration, CalibrationBin, CertaintyMeasure, CertaintyQuestions, Consistency, DrawnText,
    Form, GeneratedText, ModelIdentity, PromptSet, PromptSource, SamplingParameters, TextFilter,
    TextModel, TextRequest,
};
