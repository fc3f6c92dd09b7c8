//! The one error type of the library.
//!
//! Every variant is a *kind* that a caller may want to treat differently (the
//! command line maps each to an exit code); the text says what was wrong,
//! where, and how to fix it. Texts are lower case and end without a full stop,
//! so that they read well after "error: ".

use std::path::PathBuf;

/// A `Result` with wgrad's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong in wgrad, by kind.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Shapes that do not fit an operation.
    #[error(transparent)]
    Shape(#[from] ShapeError),

    /// A call that makes no sense for this graph: a node of another graph, a
    /// name used twice, a gradient of something that is not a scalar.
    #[error("{0}")]
    Graph(String),

    /// A request that is understood and cannot be met.
    #[error("{0}")]
    Unsupported(String),

    /// Text that does not parse (a network, a loss, an option).
    #[error("{0}")]
    Text(String),

    /// A file that cannot be read, is malformed, or holds the wrong thing.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file in question.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },

    /// Values outside an operation's domain: a BCE target outside [0, 1], NaN.
    #[error("{0}")]
    Data(String),

    /// No usable adapter, or none that matches what was asked for.
    #[error("{0}")]
    NoAdapter(String),

    /// The plan needs more than the adapter (or the memory budget) allows.
    #[error("{0}")]
    Limit(String),

    /// The device ran out of memory.
    #[error("out of memory on the device: {0}")]
    OutOfMemory(String),

    /// The device went away (driver reset, unplugged, destroyed).
    #[error("device lost: {0}")]
    DeviceLost(String),

    /// The device did not finish in time.
    #[error("timed out: {0}")]
    Timeout(String),

    /// wgpu refused something that wgrad asked of it: a defect in wgrad or in
    /// the driver, worth a report.
    #[error("the GPU layer refused a call (please report this): {0}")]
    Gpu(String),
}

impl Error {
    /// A [`Error::File`] for `path`.
    pub fn file(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Error::File {
            path: path.into(),
            reason: reason.into(),
        }
    }
}

/// Shapes that do not fit: which operation, what is wrong, and at which node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeError {
    /// The operation that was to be built, by its name (`matmul`).
    pub op: String,
    /// What is wrong, naming the shapes and the fix.
    pub reason: String,
    /// The label of the node that was to be built, where it has one.
    pub node: Option<String>,
}

impl ShapeError {
    /// An error of `op`; the graph adds the node's label.
    pub fn new(op: impl Into<String>, reason: impl Into<String>) -> Self {
        ShapeError {
            op: op.into(),
            reason: reason.into(),
            node: None,
        }
    }
}

impl std::fmt::Display for ShapeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.op, self.reason)?;
        match &self.node {
            Some(label) => write!(f, " (at node `{label}`)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ShapeError {}
