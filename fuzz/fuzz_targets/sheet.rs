//! Exercise sheets: a text as the template of a sheet, with the weights of a drawn
//! one, and as answers to the drawn one, which are then marked.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use wgrad::sheet::{Activation, Settings, Sheet, Verdict, Work, grade, parse_answers};

/// A drawn sheet, and its values.
fn drawn() -> &'static (Sheet, Work) {
    static DRAWN: OnceLock<(Sheet, Work)> = OnceLock::new();
    DRAWN.get_or_init(|| {
        let settings = Settings {
            seed: 7,
            layers: vec![4, 2, 1],
            activation: Activation::Relu,
            batch: 1,
        };
        let sheet = Sheet::draw(&settings).expect("this sheet is drawn");
        let work = Work::new(&sheet.problem).expect("a drawn sheet has its values");
        (sheet, work)
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (sheet, work) = drawn();
    if let Ok(read) = Sheet::from_template(text, sheet.problem.weights.clone(), &BTreeMap::new())
        && let Ok(own) = read.work()
    {
        // What was read can be written, and its blank answers are answers to it.
        let blank = parse_answers(&read.template(&own), &read, &own).expect("its own template");
        assert_eq!(blank.len(), own.asked.len());
    }
    if let Ok(answers) = parse_answers(text, sheet, work) {
        let marks = grade(work, &answers);
        assert_eq!(marks.len(), answers.len());
        for (mark, answer) in marks.iter().zip(&answers) {
            let blank = answer.cells.iter().all(Option::is_none);
            assert_eq!(blank, mark.verdict == Verdict::Blank, "{}", mark.name);
        }
    }
});
