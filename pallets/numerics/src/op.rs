// SPDX-License-Identifier: Apache-2.0

//! Operators, and what they are given.

use crate::constants::{AdamWFactors, Angles};

/// Largest extent of a tensor in one direction.
pub const MAX_EXTENT: u32 = 1 << 20;
/// Largest number of values that the computation of one element reads. The gradient of a key of a
/// group of `g` heads of size `s` reads up to `g · length · (4·s + 3)`.
pub const MAX_READS: u32 = 1 << 24;

/// An operator of a training step, with its shapes. Tensors are dense, the last extent innermost.
///
/// The comment of each lists its inputs in order, and then its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Left `[rows, inner]`, right `[inner, columns]`, bias `[columns]` if any: `[rows, columns]`.
    Product(Product),
    /// Values `[outer, length, inner]`, weights `[outer, length]` if any: sums over `length`,
    /// `[outer, inner]`.
    Chain(Chain),
    /// Values `[rows, columns]`, and others for [`Summand::Products`]: sums of rows, `[rows]`.
    Sum {
        /// Number of sums.
        rows: u32,
        /// Number of terms.
        columns: u32,
        /// Terms.
        of: Summand,
    },
    /// Values `[rows, columns]`: sums of each with those before it in its row, same shape.
    CumulativeSum {
        /// Number of rows.
        rows: u32,
        /// Number of values in a row.
        columns: u32,
    },
    /// Operands of a function, each by its [`Broadcast`]: `[rows, columns]`.
    Element(Element),
    /// Values `[rows, width]`: mean and factor of each row, `[rows, 2]`.
    NormStatistics(Norm),
    /// Values, statistics, weight `[width]` and bias `[width]` where there are: `[rows, width]`.
    Norm(Norm),
    /// Gradient `[rows, width]`, values, statistics, weight where there is one: gradient of the
    /// values.
    NormGradient(Norm),
    /// Gradient `[rows, width]`, values, statistics: gradient of the weight, `[width]`.
    NormWeightGradient(Norm),
    /// Values `[rows, columns]`: logarithms of sums of exponentials, `[rows]`.
    LogSumExp {
        /// Number of rows.
        rows: u32,
        /// Number of values in a row.
        columns: u32,
    },
    /// Logits `[rows, columns]`, their [`Op::LogSumExp`], targets as integers `[rows]`: losses
    /// `[rows]`.
    CrossEntropy {
        /// Number of tokens.
        rows: u32,
        /// Size of the vocabulary.
        columns: u32,
    },
    /// Inputs of [`Op::CrossEntropy`], gradient of the losses `[rows]`: gradient of the logits.
    CrossEntropyGradient {
        /// Number of tokens.
        rows: u32,
        /// Size of the vocabulary.
        columns: u32,
    },
    /// Values `[rows, columns]`: shares of each row, same shape.
    Softmax {
        /// Number of rows.
        rows: u32,
        /// Number of values in a row.
        columns: u32,
    },
    /// Gradient `[rows, columns]`, shares: gradient of the values.
    SoftmaxGradient {
        /// Number of rows.
        rows: u32,
        /// Number of values in a row.
        columns: u32,
    },
    /// Queries `[length, heads, size]`, keys and values `[length, shared, size]` of a sequence, and
    /// for gradients those of the outputs, [`AttentionPart::LogSumExp`] and the sums of products
    /// of outputs and their gradients, both `[length, heads]`.
    Attention(Attention),
    /// Table `[entries, width]`, entries as integers `[rows]`: rows of the table.
    Embedding {
        /// Number of rows of the output.
        rows: u32,
        /// Number of rows of the table.
        entries: u32,
        /// Width of a row.
        width: u32,
    },
    /// Gradient `[rows, width]`, entries as integers `[rows]`: gradient of the table.
    EmbeddingGradient {
        /// Number of rows of the gradient.
        rows: u32,
        /// Number of rows of the table.
        entries: u32,
        /// Width of a row.
        width: u32,
    },
    /// Values `[length, heads, size]`: rotated by position, same shape.
    Rotation(Rotation),
    /// Scores `[rows, count]`, biases `[count]`: the best as integers, `[rows, active]`.
    Choice {
        /// Number of tokens.
        rows: u32,
        /// Number of experts.
        count: u32,
        /// Number of experts chosen.
        active: u32,
    },
    /// Parameters, first moments, second moments, gradients, a factor on the gradients `[1]`: what
    /// follows the part, `[len]`.
    AdamW(AdamW),
}

/// A product of matrices, either of which may lie transposed in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows of the output.
    pub rows: u32,
    /// Terms of each sum.
    pub inner: u32,
    /// Columns of the output.
    pub columns: u32,
    /// Set if the left matrix lies as `[inner, rows]`.
    pub left_transposed: bool,
    /// Set if the right matrix lies as `[columns, inner]`.
    pub right_transposed: bool,
    /// Set if there is a bias.
    pub bias: bool,
}

/// Sums along a middle extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Extent before that of the sums.
    pub outer: u32,
    /// Number of terms.
    pub length: u32,
    /// Extent after that of the sums.
    pub inner: u32,
    /// Set if terms have weights.
    pub weighted: bool,
}

/// Terms of a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summand {
    /// The values.
    Values,
    /// Their squares.
    Squares,
    /// Their products with others.
    Products,
}

/// A function of up to three numbers, for each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element {
    /// The function.
    pub function: Function,
    /// Rows of the output.
    pub rows: u32,
    /// Columns of the output.
    pub columns: u32,
    /// Shapes of the operands.
    pub operands: [Broadcast; 3],
}

/// Shape of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broadcast {
    /// One value for each element.
    Each,
    /// One value for each row.
    Row,
    /// One value for each column.
    Column,
    /// One value.
    One,
}

/// A function of an element. Slopes take a gradient first, which they multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named as its function in this crate, or as arithmetic is")]
pub enum Function {
    Add,
    Subtract,
    Multiply,
    Divide,
    MultiplyAdd,
    /// 1 if the first operand is above the second, else 0.
    Above,
    Exp,
    Log,
    ReciprocalRoot,
    Sigmoid,
    Silu,
    SiluSlope,
    GeluTanh,
    GeluTanhSlope,
    Gelu,
    GeluSlope,
    SoftCap,
    /// Of a gradient, what [`Self::SoftCap`] gave, and its bound.
    SoftCapSlope,
}

/// A norm of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Norm {
    /// Number of rows.
    pub rows: u32,
    /// Number of values in a row.
    pub width: u32,
    /// Quantity that rows are divided by.
    pub kind: NormKind,
    /// Encoding of the addend under the root.
    pub epsilon: u32,
    /// Set if there is a weight.
    pub weight: bool,
    /// Set if there is a bias.
    pub bias: bool,
}

/// Quantity that a norm makes 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// The variance; the mean becomes 0.
    Layer,
    /// The mean square.
    MeanSquare,
    /// The sum of squares.
    SumOfSquares,
}

/// Attention of each token to itself and those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// The output.
    pub part: AttentionPart,
    /// Number of tokens.
    pub length: u32,
    /// Number of heads of queries.
    pub heads: u32,
    /// Number of heads of keys and values, which divides `heads`.
    pub shared: u32,
    /// Size of a head.
    pub size: u32,
    /// Number of tokens that a token sees, itself among them, if not all.
    pub window: Option<u32>,
    /// Encoding of the factor on scores.
    pub scale: u32,
    /// Encoding of the bound of scores, if there is one: that of [`Function::SoftCap`].
    pub cap: Option<u32>,
}

/// An output of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionPart {
    /// Mixed values, `[length, heads, size]`.
    Output,
    /// Logarithms of the sums of exponentials of scores, `[length, heads]`.
    LogSumExp,
    /// Gradient of the queries.
    QueryGradient,
    /// Gradient of the keys.
    KeyGradient,
    /// Gradient of the values.
    ValueGradient,
}

/// Rotation of pairs by angles that grow with the position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Number of tokens.
    pub length: u32,
    /// Number of heads.
    pub heads: u32,
    /// Size of a head.
    pub size: u32,
    /// Angles of the leading values of a head, which rotate.
    pub angles: Angles,
    /// Set if pairs are neighbours, not one of each half.
    pub interleaved: bool,
    /// Set to rotate back, as gradients are.
    pub inverse: bool,
}

/// A step of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdamW {
    /// The output.
    pub part: AdamWPart,
    /// Number of values.
    pub len: u32,
    /// Set if the parameters decay.
    pub decays: bool,
    /// Factors of the step.
    pub factors: AdamWFactors,
}

/// An output of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdamWPart {
    /// Parameters.
    Parameters,
    /// First moments.
    First,
    /// Second moments.
    Second,
}

/// Reasons why an element cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A shape is not one of its operator: an extent is above [`MAX_EXTENT`], or extents do not
    /// fit together.
    Shape,
    /// The output has no such element.
    Index,
    /// The element needs more than [`MAX_READS`] values.
    TooLong,
    /// A value that the element needs was not given.
    Missing {
        /// Number of the input, from 0.
        input: u8,
        /// Place of the value in it.
        index: u64,
    },
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Shape => write!(f, "the operator has no such shape; check its extents"),
            Self::Index => write!(f, "the output has no such element; give a smaller index"),
            Self::TooLong => {
                write!(f, "the element needs more than {MAX_READS} values; choose a smaller shape")
            }
            Self::Missing { input, index } => {
                write!(f, "value {index} of input {input} is needed; open it too")
            }
        }
    }
}

impl core::error::Error for Error {}

impl Op {
    /// Returns the number of elements of the output.
    ///
    /// # Errors
    ///
    /// Fails for shapes that the operator does not have.
    pub fn len(&self) -> Result<u64, Error> {
        match *self {
            Self::Product(Product { rows, inner, columns, .. }) => {
                count(&[inner])?;
                count(&[rows, columns])
            }
            Self::Chain(Chain { outer, length, inner, .. }) => {
                count(&[length])?;
                count(&[outer, inner])
            }
            Self::Sum { rows, columns, .. }
            | Self::LogSumExp { rows, columns }
            | Self::CrossEntropy { rows, columns } => {
                count(&[columns])?;
                count(&[rows])
            }
            Self::CumulativeSum { rows, columns }
            | Self::Element(Element { rows, columns, .. })
            | Self::CrossEntropyGradient { rows, columns }
            | Self::Softmax { rows, columns }
            | Self::SoftmaxGradient { rows, columns } => count(&[rows, columns]),
            Self::NormStatistics(Norm { rows, width, .. }) => {
                count(&[width])?;
                count(&[rows, 2])
            }
            Self::Norm(Norm { rows, width, .. }) | Self::NormGradient(Norm { rows, width, .. }) => {
                count(&[rows, width])
            }
            Self::NormWeightGradient(Norm { rows, width, .. }) => {
                count(&[rows])?;
                count(&[width])
            }
            Self::Attention(attention) => attention.len(),
            Self::Embedding { rows, entries, width } => {
                count(&[entries])?;
                count(&[rows, width])
            }
            Self::EmbeddingGradient { rows, entries, width } => {
                count(&[rows])?;
                count(&[entries, width])
            }
            Self::Rotation(Rotation { length, heads, size, angles, .. }) => {
                let fits = angles.dimensions <= size && angles.are_valid();
                if fits { count(&[length, heads, size]) } else { Err(Error::Shape) }
            }
            Self::Choice { rows, count: experts, active } => {
                let fits = active <= experts && experts <= 255;
                if fits { count(&[rows, active]) } else { Err(Error::Shape) }
            }
            Self::AdamW(AdamW { len, .. }) => count(&[len]),
        }
    }

    /// Returns `true` if the output has no elements, or the operator no such shape.
    pub fn is_empty(&self) -> bool {
        self.len().unwrap_or(0) == 0
    }
}

impl Attention {
    fn len(&self) -> Result<u64, Error> {
        let Self { part, length, heads, shared, size, window, .. } = *self;
        let fits = heads.checked_rem(shared) == Some(0) && window != Some(0);
        if !fits {
            return Err(Error::Shape);
        }
        count(&[size])?;
        match part {
            AttentionPart::Output | AttentionPart::QueryGradient => count(&[length, heads, size]),
            AttentionPart::LogSumExp => count(&[length, heads]),
            AttentionPart::KeyGradient | AttentionPart::ValueGradient => {
                count(&[length, shared, size])
            }
        }
    }
}

/// Multiplies extents. Three of them, each at most [`MAX_EXTENT`], stay below 2^60.
fn count(extents: &[u32]) -> Result<u64, Error> {
    if extents.iter().any(|&extent| extent > MAX_EXTENT) {
        return Err(Error::Shape);
    }
    Ok(extents.iter().fold(1, |product: u64, &extent| product.saturating_mul(extent.into())))
}
