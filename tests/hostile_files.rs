//! Damaged files of every kind that wgrad reads: cut off at every byte, every
//! bit flipped, and text and bytes at random. What comes back is an error that
//! says what to do or what the file says, never a panic, and no reader takes
//! more memory than the file's size and 64 MiB.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wgrad::bench::baseline::Baseline;
use wgrad::check::cases::Folder;
use wgrad::io::csv::{self, ColumnRef, Table};
use wgrad::io::{self, TensorFile};
use wgrad::nn::{Loss, Network};
use wgrad::run::gpu::{AdapterDescription, Backend, DeviceKind};
use wgrad::sheet::{Activation, Answer, Settings, Sheet, Verdict, Work, grade, parse_answers};
use wgrad::tune::{Product, Quarantined, Tuned};

mod common;
use common::Random;

/// The most that a reader may take beyond the size of what it reads.
const MOST_BEYOND: usize = 64 << 20;

/// The system's allocator, which also counts what each thread has taken: the
/// tests run side by side, and no reader starts a thread.
struct Counting;

thread_local! {
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that is ending has no counters any more, and nothing to measure.
    let _ = TAKEN.try_with(|taken| {
        taken.set(taken.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(taken.get())));
    });
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The old block may live until the new one is filled.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` gives, and the most memory it held at once.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = TAKEN.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before).max(0) as usize)
}

/// Reads `bytes`, and fails the test if that panics or takes too much memory.
/// An error must say something.
fn survived<T>(
    what: &dyn Fn() -> String,
    bytes: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Option<T> {
    let (result, peak) = measured(|| catch_unwind(AssertUnwindSafe(|| read(bytes))));
    let beyond = peak.saturating_sub(bytes.len());
    assert!(
        beyond <= MOST_BEYOND,
        "{}: {beyond} bytes beyond the {} of the file",
        what(),
        bytes.len()
    );
    match result {
        Err(_) => panic!("{}: the reader panicked", what()),
        Ok(Err(reason)) => {
            assert!(reason.len() > 10, "{}: {reason:?}", what());
            None
        }
        Ok(Ok(value)) => Some(value),
    }
}

/// Every beginning of `whole`; of more than 16 KiB some of the end's.
fn each_beginning(whole: &[u8], mut each: impl FnMut(usize, &[u8])) {
    let every = 16 << 10;
    let mut length = 0;
    while length < whole.len() {
        each(length, &whole[..length]);
        length += if length < every { 1 } else { 211 };
    }
}

/// `whole` with each of its bits flipped in turn.
fn each_flip(whole: &[u8], mut each: impl FnMut(usize, &[u8])) {
    let mut damaged = whole.to_vec();
    for bit in 0..8 * whole.len() {
        damaged[bit / 8] ^= 1 << (bit % 8);
        each(bit, &damaged);
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sample(name: &str) -> Vec<u8> {
    fs::read(root().join(name)).unwrap()
}

fn tensors(bytes: &[u8]) -> Result<TensorFile, String> {
    let file = io::read_slice(bytes, Path::new("x.bin")).map_err(|e| e.to_string())?;
    for stored in &file.tensors {
        // An error for values that float32 does not have.
        let converted = stored.to_tensor();
        assert!(converted.is_err() || converted.unwrap().tensor.dims() == stored.shape);
    }
    Ok(file)
}

/// The values of a file in float64, by bits, with their keys and shapes.
fn content(file: &TensorFile) -> Vec<(String, Vec<usize>, Vec<u64>)> {
    let bits = |t: &io::Stored| t.to_f64().unwrap().iter().map(|v| v.to_bits()).collect();
    let each = file.tensors.iter();
    each.map(|t| (t.key.clone(), t.shape.clone(), bits(t)))
        .collect()
}

/// How many values differ by their bits.
fn changed(a: &TensorFile, b: &TensorFile) -> usize {
    let values = |f: &TensorFile| content(f).into_iter().flat_map(|t| t.2).collect::<Vec<_>>();
    let (a, b) = (values(a), values(b));
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).filter(|(a, b)| a != b).count()
}

fn shapes(file: &TensorFile) -> Vec<(Vec<usize>, io::Dtype)> {
    let each = file.tensors.iter();
    let mut all: Vec<_> = each.map(|t| (t.shape.clone(), t.dtype)).collect();
    // In whatever order their keys have them.
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

const PTH: &str = "data/exercise/initial_model.pth";
const LEGACY: &str = "data/exercise/initial_model_legacy.pth";
const SMALL: &str = "data/exercise/initial_model.safetensors";
const NPY: [&str; 2] = ["data/exercise/in_features.npy", "data/exercise/target.npy"];

/// All of these say how long they are, so what is cut off is an error.
#[test]
fn files_of_tensors_that_are_cut_off_are_errors() {
    for name in [
        PTH,
        LEGACY,
        SMALL,
        NPY[0],
        NPY[1],
        "tests/data/init/linear_init.safetensors",
    ] {
        let whole = sample(name);
        assert!(tensors(&whole).is_ok(), "{name}");
        each_beginning(&whole, |length, part| {
            let what = || format!("{name}, the first {length} bytes");
            let read = survived(&what, part, tensors);
            assert!(read.is_none(), "{} were read", what());
        });
    }
}

/// A header of 60 KB: cut off within it, about each tensor's end, and behind.
#[test]
fn a_large_file_of_tensors_that_is_cut_off_is_an_error() {
    let name = "tests/data/parity/cases.safetensors";
    let whole = sample(name);
    for length in (0..whole.len()).step_by(997) {
        let what = || format!("{name}, the first {length} bytes");
        let read = survived(&what, &whole[..length], tensors);
        assert!(read.is_none(), "{} were read", what());
    }
}

/// The zip form has a checksum for the pickle and for each storage, so a flip
/// that is not noticed changed nothing that counts.
#[test]
fn a_flipped_bit_in_a_pth_changes_nothing_or_is_an_error() {
    let whole = sample(PTH);
    let want = content(&tensors(&whole).unwrap());
    let mut refused = 0;
    each_flip(&whole, |bit, damaged| {
        let what = || format!("{PTH}, bit {bit}");
        match survived(&what, damaged, tensors) {
            None => refused += 1,
            Some(file) => assert_eq!(content(&file), want, "{}", what()),
        }
    });
    assert!(refused > 2 * whole.len(), "only {refused} were noticed");
}

/// Nothing protects the older form: what is read is whole tensors.
#[test]
fn a_flipped_bit_in_an_older_pth_gives_whole_tensors_or_an_error() {
    let whole = sample(LEGACY);
    let mut read = 0;
    each_flip(&whole, |bit, damaged| {
        let what = || format!("{LEGACY}, bit {bit}");
        for (_, shape, bits) in survived(&what, damaged, tensors).iter().flat_map(content) {
            assert_eq!(shape.iter().product::<usize>(), bits.len(), "{}", what());
            read += 1;
        }
    });
    assert!(read > 0);
}

/// Shapes and types are held against the sizes, so a flip changes a key or one
/// value, or is an error.
#[test]
fn a_flipped_bit_in_an_array_is_one_value_or_an_error() {
    for name in [SMALL, NPY[0], NPY[1]] {
        let whole = sample(name);
        let good = tensors(&whole).unwrap();
        let mut refused = 0;
        each_flip(&whole, |bit, damaged| {
            let what = || format!("{name}, bit {bit}");
            match survived(&what, damaged, tensors) {
                None => refused += 1,
                Some(file) => {
                    assert_eq!(shapes(&file), shapes(&good), "{}", what());
                    // A key may be another, and come in another place.
                    if content(&file)
                        .iter()
                        .map(|t| &t.0)
                        .eq(content(&good).iter().map(|t| &t.0))
                    {
                        assert!(changed(&file, &good) <= 1, "{}", what());
                    }
                }
            }
        });
        assert!(refused > whole.len(), "only {refused} were noticed");
    }
}

const CSV: &str = "x0,x1,label\n0.5,-1,1\n2,0.25,0\n-0.75,1e-3,1\n";

fn table(bytes: &[u8]) -> Result<Table, String> {
    let label = ColumnRef::Name("label".to_string());
    let read = csv::read_slice(bytes, Path::new("x.csv"), Some(&label));
    read.map_err(|e| e.to_string())
}

/// The rows of a plain text, by the simplest of readers.
fn rows_of(text: &str) -> Vec<Vec<f32>> {
    let lines = text.lines().skip(1).filter(|line| !line.is_empty());
    let row = |line: &str| line.split(',').map(|c| c.trim().parse().unwrap()).collect();
    lines.map(row).collect()
}

fn rows_in(table: &Table) -> Vec<Vec<f32>> {
    let target = table.target.as_ref().unwrap().data();
    let features = table.features.data().chunks(table.features.dims()[1]);
    let pairs = features.zip(target);
    pairs.map(|(row, y)| [row, &[*y]].concat()).collect()
}

#[test]
fn damaged_tables_are_errors_or_what_they_say() {
    let whole = CSV.as_bytes();
    assert_eq!(rows_in(&table(whole).unwrap()), rows_of(CSV));
    // A table does not say how long it is: a row less is a table too.
    each_beginning(whole, |length, part| {
        let what = || format!("the first {length} bytes of a table");
        if let Some(read) = survived(&what, part, table) {
            let text = std::str::from_utf8(part).unwrap();
            assert_eq!(rows_in(&read), rows_of(text), "{}", what());
        }
    });
    let mut read = 0;
    each_flip(whole, |bit, damaged| {
        let what = || format!("bit {bit} of a table");
        let found = survived(&what, damaged, table);
        let text = std::str::from_utf8(damaged).unwrap_or("\"");
        // Quotes and returns are more than the simple reader knows.
        if let Some(found) = found.filter(|_| !text.contains(['"', '\r'])) {
            assert_eq!(rows_in(&found), rows_of(text), "{}", what());
            read += 1;
        }
    });
    assert!(read > 20);
}

const NETWORKS: [&str; 3] = [
    "model = nn.Sequential(  # two layers\n    nn.Linear(4, 2, bias=False),\n    nn.ReLU(),\n    \
     nn.Linear(in_features=2, out_features=1),\n    nn.Sigmoid(),\n)\n",
    "Sequential(\n  (fc1): Linear(in_features=4, out_features=2, bias=True)\n  (act): ReLU()\n  \
     (inner): Sequential(\n    (0): Linear(in_features=2, out_features=1, bias=False)\n    \
     (1): Identity()\n  )\n)",
    "Sequential(OrderedDict([('a', Linear(3, 2)), ('b', Sigmoid())]))",
];
const LOSSES: [&str; 2] = [
    "nn.BCEWithLogitsLoss(reduction='sum')",
    "MSELoss(reduction=\"none\")  # each",
];

/// Text as a file has it: what is no UTF-8 is an error before it is parsed.
fn network(bytes: &[u8]) -> Result<Network, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let network = Network::parse(text).map_err(|e| e.to_string())?;
    // Whatever was read, its own text means the same.
    assert_eq!(Network::parse(&network.to_string()).as_ref(), Ok(&network));
    Ok(network)
}

fn loss(bytes: &[u8]) -> Result<Loss, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let loss = Loss::parse(text).map_err(|e| e.to_string())?;
    assert_eq!(Loss::parse(&loss.to_string()).as_ref(), Ok(&loss));
    Ok(loss)
}

#[test]
fn damaged_texts_are_errors_or_what_they_say() {
    for text in NETWORKS {
        let whole = Network::parse(text).unwrap();
        each_beginning(text.as_bytes(), |length, part| {
            let what = || format!("the first {length} bytes of {text}");
            // Only white space and comments may be missing.
            if let Some(read) = survived(&what, part, network) {
                assert_eq!(read, whole, "{}", what());
            }
        });
        each_flip(text.as_bytes(), |bit, damaged| {
            survived(&|| format!("bit {bit} of {text}"), damaged, network);
        });
    }
    for text in LOSSES {
        each_beginning(text.as_bytes(), |length, part| {
            survived(
                &|| format!("the first {length} bytes of {text}"),
                part,
                loss,
            );
        });
        each_flip(text.as_bytes(), |bit, damaged| {
            survived(&|| format!("bit {bit} of {text}"), damaged, loss);
        });
    }
}

fn adapter() -> AdapterDescription {
    AdapterDescription {
        index: 0,
        name: "a card".to_string(),
        kind: DeviceKind::Discrete,
        backend: Backend::Vulkan,
        driver: "driver 1".to_string(),
        max_binding: 1,
        max_buffer: 1,
        max_invocations: 1,
        workgroup_memory: 1,
    }
}

/// What tuning kept, as its file has it.
fn tuned_file() -> Vec<u8> {
    let mut tuned = Tuned::new(&adapter());
    tuned.date = "2026-11-25".to_string();
    tuned.products.push(Product {
        problem: "matmul 8x9x300 nt".to_string(),
        kernel: "matmul_16".to_string(),
        ns: 1_000_000,
        default: "matmul_tall".to_string(),
        default_ns: Some(3_000_000),
    });
    tuned.quarantined.push(Quarantined {
        kernel: "matmul_rows".to_string(),
        problem: "matmul 17x17x67 nt".to_string(),
        followed: true,
        reason: "2 of 289 values are wrong".to_string(),
    });
    let folder = tempfile::tempdir().unwrap();
    let path = tuned.save(folder.path(), &adapter()).unwrap();
    fs::read(path).unwrap()
}

fn tuned(bytes: &[u8]) -> Result<Tuned, String> {
    Tuned::from_json(bytes, &adapter())
}

#[test]
fn damaged_choices_of_kernels_are_not_used() {
    let whole = tuned_file();
    let want = tuned(&whole).unwrap();
    each_beginning(&whole, |length, part| {
        let what = || format!("the first {length} bytes of the choices");
        if let Some(read) = survived(&what, part, tuned) {
            assert_eq!((read, length), (want.clone(), whole.len() - 1));
        }
    });
    each_flip(&whole, |bit, damaged| {
        if let Some(read) = survived(&|| format!("bit {bit} of the choices"), damaged, tuned) {
            assert_eq!(read, want, "bit {bit}");
        }
    });
}

const BASELINE: &str = r#"{"adapter": "a card", "driver": "driver 1", "results": [
  {"net": "4-2-1", "network": "Linear(4, 1)", "loss": "MSELoss()", "batch": 64, "replicas": 1,
   "step_s": {"median": 2.0e-3, "p10": 1.5e-3, "p90": 3.0e-3, "runs": 7}, "gpu_s": null},
  {"net": "4-2-1", "network": "Linear(4, 1)", "loss": "MSELoss()", "batch": 1, "replicas": 2,
   "step_s": null}
]}
"#;

fn baseline(bytes: &[u8]) -> Result<Baseline, String> {
    Baseline::read_slice(bytes, Path::new("b.json")).map_err(|e| e.to_string())
}

#[test]
fn damaged_baselines_are_errors_or_what_they_say() {
    let whole = BASELINE.as_bytes();
    let want = baseline(whole).unwrap();
    each_beginning(whole, |length, part| {
        let what = || format!("the first {length} bytes of a baseline");
        if let Some(read) = survived(&what, part, baseline) {
            assert_eq!((read, length), (want.clone(), whole.len() - 1));
        }
    });
    each_flip(whole, |bit, damaged| {
        let found = survived(&|| format!("bit {bit} of a baseline"), damaged, baseline);
        for row in found.into_iter().flat_map(|b| b.results) {
            let ordered = row
                .step_s
                .is_none_or(|s| 0.0 < s.p10 && s.p10 <= s.median && s.median <= s.p90);
            assert!(ordered, "bit {bit}: {row:?}");
        }
    });
}

/// A folder of cases with the first three of the samples'.
fn few_cases() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut list: serde_json::Value =
        serde_json::from_slice(&sample("tests/data/parity/cases.json")).unwrap();
    list["cases"].as_array_mut().unwrap().truncate(3);
    let mut tensors = fs::read(root().join(SMALL)).unwrap();
    tensors.shrink_to_fit();
    fs::write(folder.path().join("cases.safetensors"), tensors).unwrap();
    (folder, list.to_string().into_bytes())
}

#[test]
fn damaged_lists_of_cases_are_errors_or_what_they_say() {
    let (folder, whole) = few_cases();
    let read = |bytes: &[u8]| -> Result<usize, String> {
        fs::write(folder.path().join("cases.json"), bytes).map_err(|e| e.to_string())?;
        let read = Folder::read(folder.path()).map_err(|e| e.to_string())?;
        Ok(read.cases.len())
    };
    assert_eq!(read(&whole), Ok(3));
    each_beginning(&whole, |length, part| {
        let what = || format!("the first {length} bytes of a list of cases");
        assert_eq!(survived(&what, part, read), None, "{}", what());
    });
    each_flip(&whole, |bit, damaged| {
        survived(&|| format!("bit {bit} of a list of cases"), damaged, read);
    });
}

type Reader = fn(&[u8]) -> Result<(), String>;

/// Every reader, by the name of its fuzz target.
const READERS: [(&str, Reader); 7] = [
    ("pth", pth),
    ("safetensors", |b| tensors(b).map(drop)),
    ("npy", |b| tensors(b).map(drop)),
    ("network", |b| network(b).map(drop)),
    ("csv", |b| table(b).map(drop)),
    ("json", |b| {
        let (first, second) = (baseline(b), tuned(b));
        first.map(drop).or(second.map(drop))
    }),
    ("sheet", |b| {
        let read = [false, true].map(|large| template(b, large).or(marked(b, large)));
        let [first, second] = read;
        first.or(second)
    }),
];

/// A sheet with its values: one to work by hand, or one for a program, of which some
/// values are asked for in part.
fn drawn(for_program: bool) -> &'static (Sheet, Work) {
    static DRAWN: [OnceLock<(Sheet, Work)>; 2] = [const { OnceLock::new() }; 2];
    DRAWN[usize::from(for_program)].get_or_init(|| {
        let settings = Settings {
            seed: 7,
            layers: match for_program {
                true => vec![9, 9, 1],
                false => vec![4, 2, 1],
            },
            activation: Activation::Relu,
            batch: if for_program { 8 } else { 1 },
        };
        let sheet = Sheet::draw(&settings).unwrap();
        let work = sheet.work().unwrap();
        assert_eq!(sheet.picks.is_empty(), !for_program);
        (sheet, work)
    })
}

/// As the template of a sheet with the weights and the batch of a drawn one. The blank
/// answers of what was read are answers to it.
fn template(bytes: &[u8], for_program: bool) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let problem = &drawn(for_program).0.problem;
    let batch = BTreeMap::from([
        ("input.npy".to_string(), problem.input.clone()),
        ("target.npy".to_string(), problem.target.clone()),
    ]);
    let sheet = Sheet::from_template(text, problem.weights.clone(), &batch)?;
    let work = sheet.work().map_err(|e| e.to_string())?;
    let blank = parse_answers(&sheet.template(&work), &sheet, &work).unwrap();
    assert_eq!(blank.len(), work.asked.len());
    Ok(())
}

/// As answers to the drawn sheet.
fn answers(bytes: &[u8], for_program: bool) -> Result<Vec<Answer>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
    let (sheet, work) = drawn(for_program);
    parse_answers(text, sheet, work)
}

/// As answers, which are marked.
fn marked(bytes: &[u8], for_program: bool) -> Result<(), String> {
    let answers = answers(bytes, for_program)?;
    for (mark, answer) in grade(&drawn(for_program).1, &answers).iter().zip(&answers) {
        let blank = answer.cells.iter().all(Option::is_none);
        assert_eq!(blank, mark.verdict == Verdict::Blank, "{}", mark.name);
    }
    Ok(())
}

#[test]
fn damaged_sheets_are_errors_or_what_they_say() {
    // Filled in, as answers; blank, as the template. Marking each takes too long here.
    let readers: [Reader; 4] = [
        |b| answers(b, false).map(drop),
        |b| template(b, false),
        |b| answers(b, true).map(drop),
        |b| template(b, true),
    ];
    for (whole, read) in samples("sheet").iter().zip(readers) {
        assert_eq!(read(whole), Ok(()));
        each_beginning(whole, |length, part| {
            let what = || format!("the first {length} bytes of a sheet");
            if survived(&what, part, read).is_some() {
                assert_eq!(length, whole.len() - 1);
            }
        });
        each_flip(whole, |bit, damaged| {
            survived(&|| format!("bit {bit} of a sheet"), damaged, read);
        });
    }
}

/// As a file, and as the pickle of an archive, as the fuzz target reads it: by
/// damage alone no checksum is met.
fn pth(bytes: &[u8]) -> Result<(), String> {
    let floats: Vec<u8> = (0..16u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let archive = zipped(&[("a/data.pkl", bytes), ("a/data/0", &floats)]);
    let (file, pickle) = (tensors(bytes), tensors(&archive));
    file.or(pickle).map(drop)
}

/// Samples to start from, by the name of the fuzz target.
fn samples(target: &str) -> Vec<Vec<u8>> {
    match target {
        "pth" => vec![sample(PTH), sample(LEGACY)],
        "safetensors" => vec![sample(SMALL)],
        "npy" => NPY.iter().map(|name| sample(name)).collect(),
        "network" => NETWORKS.iter().map(|t| t.as_bytes().to_vec()).collect(),
        "csv" => vec![CSV.as_bytes().to_vec()],
        "json" => vec![BASELINE.as_bytes().to_vec(), tuned_file()],
        "sheet" => {
            let both = [false, true].map(|for_program| {
                let (sheet, work) = drawn(for_program);
                let blank = sheet.template(work);
                let filled = blank.replace("null", "-0.25");
                [filled.into_bytes(), blank.into_bytes()]
            });
            both.concat()
        }
        other => panic!("no target {other}"),
    }
}

/// What the fuzz targets have found worth keeping.
fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = root().join("fuzz/corpus").join(target);
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_fuzzing_found_is_survived() {
    for (target, read) in READERS {
        let paths = corpus(target);
        assert!(!paths.is_empty(), "no corpus of {target}");
        for path in paths {
            let bytes = fs::read(&path).unwrap();
            survived(&|| path.display().to_string(), &bytes, read);
        }
    }
}

/// Damages bytes as a fuzzer does: bits, bytes, runs of bytes that are moved,
/// repeated or cut out, and numbers at the edges of their ranges.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    const NUMBERS: [&[u8]; 8] = [
        &[0xff; 8],
        &[0xff, 0xff, 0xff, 0x7f],
        &[0, 0, 0, 0x80],
        &[0; 8],
        b"18446744073709551615",
        b"-1",
        b"1e999",
        b"((((((((",
    ];
    let below = |random: &mut Random, n: usize| (random.bits() >> 11) as usize % n.max(1);
    for _ in 0..1 + below(random, 6) {
        let at = below(random, bytes.len());
        let run = below(random, 24).min(bytes.len() - at.min(bytes.len()));
        match below(random, 8) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << below(random, 8),
            1 if !bytes.is_empty() => bytes[at] = random.bits() as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + run)),
            4 => {
                let part = bytes[at..at + run].to_vec();
                let to = below(random, bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            5 => {
                let part = bytes[at..at + run].repeat(1 + below(random, 40));
                bytes.splice(at..at, part);
            }
            6 => {
                let number = NUMBERS[below(random, NUMBERS.len())];
                let end = (at + number.len()).min(bytes.len());
                bytes.splice(at..end, number.iter().copied());
            }
            _ => {
                // The end of another sample.
                let other = &others[below(random, others.len())];
                let from = below(random, other.len());
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
        }
    }
}

#[test]
fn random_damage_is_survived() {
    for (number, (target, read)) in READERS.into_iter().enumerate() {
        let mut random = Random::new(100 + number as u64);
        let mut pool = samples(target);
        pool.extend(corpus(target).iter().map(|path| fs::read(path).unwrap()));
        for round in 0..3000 {
            let mut bytes = pool[(random.bits() >> 33) as usize % pool.len()].clone();
            mutate(&mut random, &mut bytes, &pool);
            survived(&|| format!("{target}, round {round}"), &bytes, read);
        }
    }
}

/// The meter itself: what is held at once counts, and so does what is given
/// back.
#[test]
fn memory_is_measured() {
    let (_, peak) = measured(|| drop((vec![0u8; 1 << 20], vec![0u8; 1 << 20])));
    assert!((2 << 20..3 << 20).contains(&peak), "{peak}");
    let (_, peak) = measured(|| {
        drop(std::hint::black_box(vec![0u8; 1 << 20]));
        drop(std::hint::black_box(vec![0u8; 1 << 20]));
    });
    assert!((1 << 20..2 << 20).contains(&peak), "{peak}");
}

/// Small pickles that would like to be large: bounded by their own size and a
/// little.
#[test]
fn small_files_stay_small() {
    let text = |s: &str| [&[b'X'][..], &(s.len() as u32).to_le_bytes(), s.as_bytes()].concat();
    let int = |n: i32| [&[b'J'][..], &n.to_le_bytes()].concat();
    // A tensor of 2^28 elements that repeats one.
    let storage = [
        b"(".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        int(1),
        b"tQ".to_vec(),
    ]
    .concat();
    let repeated = [
        b"\x80\x02}".to_vec(),
        text("w"),
        b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec(),
        storage,
        int(0),
        b"(".to_vec(),
        int(1 << 28),
        b"t(".to_vec(),
        int(0),
        b"t\x89)tRs.".to_vec(),
    ]
    .concat();
    // One list, copied again and again.
    let copied = [
        b"\x80\x02((K\x01K\x02tq\x01]q\x00(".to_vec(),
        b"h\x01".repeat(20_000),
        b"eccollections\nOrderedDict\nq\x02".to_vec(),
        b"h\x02h\x00\x85R".repeat(20_000),
        b"t.".to_vec(),
    ]
    .concat();
    for (what, pickle) in [("repeated", repeated), ("copied", copied)] {
        let file = zipped(&[("a/data.pkl", &pickle), ("a/data/0", &1f32.to_le_bytes())]);
        let read = survived(&|| what.to_string(), &file, tensors);
        assert!(read.is_none(), "{what}");
    }
}

fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    use std::io::Write;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, data) in entries {
        writer.start_file(*name, stored).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
