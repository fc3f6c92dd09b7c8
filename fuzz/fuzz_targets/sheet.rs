//! Exercise sheets: a text as the template of a sheet, with the weights and the batch
//! of a drawn one, and as answers to the drawn one, which are then marked. Both of a
//! sheet to work by hand and of one for a program.

#![no_main]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use wgrad::sheet::{Activation, Settings, Sheet, Verdict, Work, grade, parse_answers};

/// The drawn sheets, and their values.
fn drawn() -> &'static [(Sheet, Work); 2] {
    static DRAWN: OnceLock<[(Sheet, Work); 2]> = OnceLock::new();
    DRAWN.get_or_init(|| {
        [(vec![4, 2, 1], 1), (vec![9, 9, 1], 8)].map(|(layers, batch)| {
            let settings = Settings {
                seed: 7,
                layers,
                activation: Activation::Relu,
                batch,
            };
            let sheet = Sheet::draw(&settings).expect("this sheet is drawn");
            let work = sheet.work().expect("a drawn sheet has its values");
            (sheet, work)
        })
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    for (sheet, work) in drawn() {
        let problem = &sheet.problem;
        let batch = BTreeMap::from([
            ("input.npy".to_string(), problem.input.clone()),
            ("target.npy".to_string(), problem.target.clone()),
        ]);
        if let Ok(read) = Sheet::from_template(text, problem.weights.clone(), &batch)
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
    }
});
