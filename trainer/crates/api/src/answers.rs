// SPDX-License-Identifier: Apache-2.0

//! Answers of a model, collected or as a stream.

use crate::{
    error::ApiError,
    worker::{Answer, Part},
};
use futures::{
    StreamExt,
    stream::{self, Stream},
};
use pol_generate::{Completion, Error};
use tokio::sync::mpsc::Receiver;

/// Returns the completion of one text, and all of its parts as one.
pub(crate) async fn collect(mut answers: Receiver<Answer>) -> Result<(Completion, Part), ApiError> {
    let mut whole = Part::default();
    while let Some(answer) = answers.recv().await {
        match answer {
            Answer::Part(part) => {
                whole.text += &part.text;
                whole.reports.extend(part.reports);
                whole.calls.extend(part.calls);
            }
            Answer::Done(completion) => return Ok((completion, whole)),
            Answer::Failed(error) => return Err(error.into()),
            Answer::Step(_) | Answer::Reasoned(_) | Answer::Embedding(_) => {}
        }
    }
    Err(stopped())
}

/// Returns the answers of several texts as they come, each with the index of its text. Each text
/// ends with one that is no part and no step.
pub(crate) fn merge(
    texts: Vec<Receiver<Answer>>,
) -> impl Stream<Item = (usize, Answer)> + Send + 'static {
    let one = |(index, answers): (usize, Receiver<Answer>)| {
        stream::unfold(Some(answers), move |answers| async move {
            let mut answers = answers?;
            let answer = answers.recv().await.unwrap_or(Answer::Failed(Error::Cancelled));
            let goes_on = matches!(answer, Answer::Part(_) | Answer::Step(_));
            Some(((index, answer), goes_on.then_some(answers)))
        })
        .boxed()
    };
    stream::select_all(texts.into_iter().enumerate().map(one))
}

/// Returns the error of a model whose thread has ended.
pub(crate) fn stopped() -> ApiError {
    ApiError::Internal("the model has failed; try again soon, or restart the server".into())
}
