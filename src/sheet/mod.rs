//! Exercise sheets: a random network with numbers that can be worked by hand, or a
//! larger one for a program of one's own; what it asks for, and marks for answers. The
//! same settings give the same sheet.

mod answers;
mod draw;
mod draw_large;
mod grade;
mod mistakes;
mod pick;
mod settings;
mod show;
mod template;
mod work;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub use answers::{Answer, Written, parse as parse_answers, read as read_answers};
pub use grade::{Element, Found, Mark, Verdict, grade};
pub use mistakes::Mistake;
pub use settings::{Activation, Settings};
pub use work::{Asked, Picks, Work};

use crate::error::{Error, Result};
use crate::io;
use crate::solution::Problem;
use crate::tensor::Tensor;

/// The file of blank answers in a sheet's folder, which also says what is given.
pub const TEMPLATE: &str = "answers.template.json";
/// The file of weights in a sheet's folder.
pub const MODEL: &str = "model.pth";
/// The file of the batch in the folder of a sheet for a program.
pub const INPUT: &str = "input.npy";
/// The file of the targets there.
pub const TARGET: &str = "target.npy";
/// The longest template, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// A sheet: a problem, and what it says of itself.
#[derive(Clone, Debug)]
pub struct Sheet {
    /// What tells it from others: seed, layers, activation, batch.
    pub about: Value,
    /// The problem.
    pub problem: Problem,
    /// Whether it is for a program: the batch is in files, and of large values only some
    /// elements are asked for.
    pub for_program: bool,
    /// The elements that are asked for, of values of which only some are.
    pub picks: Picks,
}

impl Sheet {
    /// Draws a sheet.
    ///
    /// # Errors
    /// [`Error::Text`]: settings for which there is no sheet.
    /// [`Error::Unsupported`]: no numbers were found that can be worked by hand, or in
    /// which every mistake shows.
    pub fn draw(settings: &Settings) -> Result<Sheet> {
        settings.check()?;
        let (problem, picks) = match settings.by_hand() {
            true => (draw::problem(settings)?, Picks::new()),
            false => draw_large::problem(settings)?,
        };
        Ok(Sheet {
            about: settings.about(),
            problem,
            for_program: !settings.by_hand(),
            picks,
        })
    }

    /// What it asks for, and the right values.
    ///
    /// # Errors
    /// As [`Work::new`]; elements that the values do not have; values of more than 2^24
    /// numbers in all.
    pub fn work(&self) -> Result<Work> {
        Work::of(&self.problem, self.for_program, &self.picks)
    }

    /// The blank answers: the sheet's data, and null for every number that it asks for.
    /// `work` must be of this sheet.
    pub fn template(&self, work: &Work) -> String {
        template::write(self, work)
    }

    /// Reads a sheet from its folder: [`TEMPLATE`] and [`MODEL`], and of one for a
    /// program [`INPUT`] and [`TARGET`].
    ///
    /// # Errors
    /// [`Error::File`], for a network or a loss that does not parse, too.
    pub fn read(folder: &Path) -> Result<Sheet> {
        let again = |e: Error, fix: &str| match e {
            Error::File { path, reason } => Error::file(path, format!("{reason}; {fix}")),
            other => other,
        };
        let path = folder.join(TEMPLATE);
        let text = io::read_text(&path, MOST_BYTES)
            .map_err(|e| again(e, "--sheet takes the folder that wgrad sheet wrote"))?;
        let parts = template::parse(&text).map_err(|reason| Error::file(&path, reason))?;
        let mut weights = BTreeMap::new();
        for stored in io::read(&folder.join(MODEL))?.tensors {
            weights.insert(stored.key.clone(), stored.to_tensor()?.tensor);
        }
        let mut batch = BTreeMap::new();
        for name in parts.files() {
            let path = folder.join(name);
            let read = read_array(&path);
            let array = read.map_err(|e| {
                again(
                    e,
                    "wgrad sheet wrote this file; draw the sheet again with the same seed",
                )
            })?;
            batch.insert(name.to_string(), array);
        }
        parts
            .with(weights, &batch)
            .map_err(|reason| Error::file(&path, reason))
    }

    /// As [`read`](Sheet::read), from the text of the template, the weights by key, and
    /// the arrays of the batch by the names of their files.
    ///
    /// # Errors
    /// What is wrong with the text, or an array that it names and that is not there.
    pub fn from_template(
        text: &str,
        weights: BTreeMap<String, Tensor>,
        batch: &BTreeMap<String, Tensor>,
    ) -> Result<Sheet, String> {
        template::parse(text)?.with(weights, batch)
    }

    /// Writes [`MODEL`] into a folder and, for a program, [`INPUT`], [`TARGET`] and each
    /// weight as `.npy`. The names of the files.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_data(&self, folder: &Path) -> Result<Vec<String>> {
        let keys = self.problem.network.parameters();
        let tensors: Vec<(&str, &Tensor)> = keys
            .iter()
            .filter_map(|(key, _)| Some((key.as_str(), self.problem.weights.get(key)?)))
            .collect();
        io::save_pth(&folder.join(MODEL), &tensors)?;
        let mut names = vec![MODEL.to_string()];
        if self.for_program {
            let problem = &self.problem;
            let batch = [(INPUT, &problem.input), (TARGET, &problem.target)];
            let batch = batch.map(|(name, tensor)| (name.to_string(), tensor));
            let weights = tensors
                .iter()
                .map(|(key, tensor)| (weight_file(key), *tensor));
            for (name, tensor) in batch.into_iter().chain(weights) {
                io::save_npy(&folder.join(&name), tensor)?;
                names.push(name);
            }
        }
        Ok(names)
    }
}

/// The file of a weight on its own: `W0.npy` of `0.weight`.
pub fn weight_file(key: &str) -> String {
    match key.strip_suffix(".weight") {
        Some(layer) => format!("W{layer}.npy"),
        None => format!("{key}.npy"),
    }
}

/// The one array of a file, of numbers that are finite.
fn read_array(path: &Path) -> Result<Tensor> {
    let file = io::read(path)?;
    let [stored] = &file.tensors[..] else {
        let count = file.tensors.len();
        return Err(Error::file(path, format!("{count} arrays, and not one")));
    };
    let tensor = stored
        .to_tensor()
        .map_err(|e| Error::file(path, e.to_string()))?
        .tensor;
    match tensor.data().iter().position(|v| !v.is_finite()) {
        Some(i) => Err(Error::file(
            path,
            format!("element {i} is not a finite number"),
        )),
        None => Ok(tensor),
    }
}
