//! Hostile and unusual files, built by hand.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, data) in entries {
        writer.start_file(*name, stored).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn text(s: &str) -> Vec<u8> {
    let mut bytes = vec![b'X'];
    bytes.extend((s.len() as u32).to_le_bytes());
    bytes.extend(s.as_bytes());
    bytes
}

fn int(n: i32) -> Vec<u8> {
    [&[b'J'][..], &n.to_le_bytes()].concat()
}

fn tuple(parts: &[Vec<u8>]) -> Vec<u8> {
    [b"(".to_vec(), parts.concat(), b"t".to_vec()].concat()
}

/// `torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, ...)`
fn tensor(kind: &str, key: &str, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let id = tuple(&[
        text("storage"),
        format!("ctorch\n{kind}\n").into_bytes(),
        text(key),
        text("cpu"),
        int(1),
    ]);
    let ints = |list: &[i32]| tuple(&list.iter().map(|&n| int(n)).collect::<Vec<_>>());
    let arguments = tuple(&[
        [id, b"Q".to_vec()].concat(),
        int(offset),
        ints(shape),
        ints(strides),
        vec![0x89],
        b"ccollections\nOrderedDict\n)R".to_vec(),
    ]);
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(),
        arguments,
        b"R".to_vec(),
    ]
    .concat()
}

/// A pickled dict of these entries.
fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let items: Vec<u8> = entries
        .iter()
        .flat_map(|(key, value)| [text(key), value.clone()].concat())
        .collect();
    [b"\x80\x02}(".to_vec(), items, b"u.".to_vec()].concat()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn zipped(pickle: &[u8], storages: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let names: Vec<_> = storages
        .iter()
        .map(|(key, _)| format!("a/data/{key}"))
        .collect();
    let mut entries = vec![("a/data.pkl", pickle)];
    entries.extend(
        names
            .iter()
            .zip(storages)
            .map(|(n, (_, d))| (n.as_str(), &d[..])),
    );
    archive(&entries)
}

fn values(file: &TensorFile, key: &str) -> Vec<f32> {
    file.get(key)
        .unwrap()
        .to_tensor()
        .unwrap()
        .tensor
        .into_data()
}

#[test]
fn strides_offsets_and_shared_storages_are_honoured() {
    let pickle = dict(&[
        ("whole", tensor("FloatStorage", "0", 0, &[2, 3], &[3, 1])),
        ("turned", tensor("FloatStorage", "0", 0, &[3, 2], &[1, 3])),
        ("part", tensor("FloatStorage", "0", 1, &[2], &[2])),
        ("repeated", tensor("FloatStorage", "0", 5, &[3], &[0])),
        ("scalar", tensor("FloatStorage", "0", 4, &[], &[])),
        ("none", tensor("FloatStorage", "0", 0, &[0, 3], &[3, 1])),
        ("half", tensor("HalfStorage", "1", 0, &[1], &[1])),
    ]);
    let half = half::f16::from_f32(-0.5).to_le_bytes().to_vec();
    let data = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let file = read_zip(&zipped(&pickle, &[("0", data), ("1", half)])).unwrap();
    assert_eq!(values(&file, "whole"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(values(&file, "turned"), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!(values(&file, "part"), [1.0, 3.0]);
    assert_eq!(values(&file, "repeated"), [5.0, 5.0, 5.0]);
    assert_eq!(values(&file, "scalar"), [4.0]);
    assert_eq!(values(&file, "none"), [0.0; 0]);
    assert_eq!(values(&file, "half"), [-0.5]);
    assert_eq!(file.get("turned").unwrap().shape, [3, 2]);
}

#[test]
fn a_checkpoint_around_the_state_dict_is_opened() {
    let weight = tensor("FloatStorage", "0", 0, &[1], &[1]);
    let inner = [b"}(".to_vec(), text("fc.weight"), weight, b"u".to_vec()].concat();
    let pickle = dict(&[("epoch", int(3)), ("model_state_dict", inner)]);
    let file = read_zip(&zipped(&pickle, &[("0", floats(&[7.0]))])).unwrap();
    assert_eq!(values(&file, "fc.weight"), [7.0]);
    assert!(
        file.notices[0].contains("model_state_dict"),
        "{:?}",
        file.notices
    );
}

#[test]
fn parameters_and_metadata_are_understood() {
    let weight = tensor("FloatStorage", "0", 0, &[1], &[1]);
    let parameter = [
        b"ctorch._utils\n_rebuild_parameter\n".to_vec(),
        tuple(&[
            weight,
            vec![0x88],
            b"ccollections\nOrderedDict\n)R".to_vec(),
        ]),
        b"R".to_vec(),
    ]
    .concat();
    // OrderedDict() filled, then BUILD with {"_metadata": ...}.
    let pickle = [
        b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec(),
        text("w"),
        parameter,
        b"u}".to_vec(),
        text("_metadata"),
        b"}sb.".to_vec(),
    ]
    .concat();
    let file = read_zip(&zipped(&pickle, &[("0", floats(&[2.5]))])).unwrap();
    assert_eq!(values(&file, "w"), [2.5]);
}

#[test]
fn what_a_state_dict_does_not_need_is_refused_and_named() {
    let weight = || tensor("FloatStorage", "0", 0, &[1], &[1]);
    let repeat =
        |part: &[u8], n: usize| [b"\x80\x02".to_vec(), part.repeat(n), b".".to_vec()].concat();
    let sized = |shape: &[i32], strides: &[i32], offset| {
        dict(&[("w", tensor("FloatStorage", "0", offset, shape, strides))])
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            b"\x80\x02cposix\nsystem\n(X\x02\x00\x00\x00lstR.".to_vec(),
            "`posix.system`",
        ),
        (b"\x80\x02cbuiltins\neval\n.".to_vec(), "`builtins.eval`"),
        (
            b"\x80\x02ctorch.nn.modules.container\nSequential\n.".to_vec(),
            "state_dict",
        ),
        (
            b"\x80\x04X\x05\x00\x00\x00posixX\x06\x00\x00\x00system\x93.".to_vec(),
            "`posix.system`",
        ),
        (b"\x80\x02(iposix\nsystem\n.".to_vec(), "opcode `i`"),
        (b"\x80\x02P0\n.".to_vec(), "opcode `P`"),
        (b"\x80\x02\x82\x01.".to_vec(), "opcode 0x82"),
        (b"\x80\x07}.".to_vec(), "protocol 7"),
        (
            b"\x80\x02X\xff\xff\xff\xffab.".to_vec(),
            "a string of 4294967295 bytes",
        ),
        (b"\x80\x02X\x10\x00\x00\x00ab.".to_vec(), "cut off"),
        (b"\x80\x02c".to_vec(), "a name without an end"),
        (b"\x80\x02}".to_vec(), "cut off"),
        (b"\x80\x02.".to_vec(), "an empty stack"),
        (b"\x80\x02h\x07.".to_vec(), "memo entry 7 does not exist"),
        (b"\x80\x02t.".to_vec(), "no mark"),
        (b"\x80\x02}X\x01\x00\x00\x00au.".to_vec(), "no mark"),
        (
            b"\x80\x02}(X\x01\x00\x00\x00au.".to_vec(),
            "a key without a value",
        ),
        (b"\x80\x02NQ.".to_vec(), "names no storage"),
        (b"\x80\x02NNR.".to_vec(), "no global"),
        (b"\x80\x02K\x01.".to_vec(), "does not hold a state dict"),
        (repeat(b"(", 2_000_000), "nested too deeply"),
        (repeat(b"N", 2_000_000), "nested too deeply"),
        (repeat(b"}0", 3), "opcode `0`"),
        (sized(&[2], &[1], 0), "reaches element 1 of a storage of 1"),
        (sized(&[1], &[1], 5), "reaches element 5"),
        (sized(&[-1], &[1], 0), "a size of -1"),
        (sized(&[1], &[1], -1), "an offset of -1"),
        (sized(&[1], &[1, 1], 0), "1 sizes and 2 strides"),
        (sized(&[i32::MAX], &[i32::MAX], 0), "reaches element"),
        (sized(&[i32::MAX], &[0], 0), "too much for this file"),
        (
            sized(&[i32::MAX, i32::MAX, i32::MAX], &[0, 0, 0], 0),
            "more elements",
        ),
        (
            dict(&[("w", weight()), ("w", weight())]),
            "two tensors named `w`",
        ),
        (
            dict(&[("w", tensor("FloatStorage", "9", 0, &[1], &[1]))]),
            "`a/data/9` is missing",
        ),
        (
            dict(&[("w", tensor("FloatStorage", "../0", 0, &[1], &[1]))]),
            "a storage named `../0`",
        ),
        (
            dict(&[("w", tensor("ComplexFloatStorage", "0", 0, &[1], &[1]))]),
            "ComplexFloatStorage",
        ),
    ];
    for (pickle, want) in cases {
        let error = read_zip(&zipped(&pickle, &[("0", floats(&[1.0]))])).unwrap_err();
        assert!(error.contains(want), "{want}: {error}");
    }
}

/// A tower of tuples or of dicts is data for the heap, and takes no stack.
#[test]
fn deep_nesting_takes_no_stack() {
    let tuples = [
        b"\x80\x02)".to_vec(),
        b"\x85".repeat(1_000_000),
        b".".to_vec(),
    ]
    .concat();
    assert!(read_zip(&zipped(&tuples, &[])).is_err());
    let key = text("k");
    let mut dicts = b"\x80\x02}".to_vec();
    for _ in 0..100 {
        dicts.extend(&key);
        dicts.push(b'}');
    }
    dicts.extend(b"s".repeat(100));
    dicts.push(b'.');
    let error = read_zip(&zipped(&dicts, &[])).unwrap_err();
    assert!(error.contains("nested more than"), "{error}");
    // A dict that holds itself.
    let loops = [b"\x80\x02}q\x00".to_vec(), key, b"h\x00s.".to_vec()].concat();
    assert!(
        read_zip(&zipped(&loops, &[]))
            .unwrap_err()
            .contains("nested more than")
    );
    // A few shared dicts that would unfold to billions of entries.
    let mut laughs = b"\x80\x02".to_vec();
    laughs.extend(b"}q\x00");
    for level in 1..14u8 {
        laughs.extend(b"}(");
        for i in 0..20 {
            laughs.extend(text(&format!("{i}")));
            laughs.extend([b'h', level - 1]);
        }
        laughs.extend([b'u', b'q', level]);
    }
    laughs.push(b'.');
    assert!(
        read_zip(&zipped(&laughs, &[]))
            .unwrap_err()
            .contains("more than 1000000 entries")
    );
}

#[test]
fn archives_that_torch_never_writes_are_refused() {
    let pickle = dict(&[]);
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    writer.start_file("a/data.pkl", stored).unwrap();
    writer.write_all(&pickle).unwrap();
    let mut good = writer.finish().unwrap().into_inner();
    assert!(read_zip(&good).unwrap().tensors.is_empty());
    for (entries, want) in [
        (vec![("../a/data.pkl", &pickle[..])], "points outside"),
        (vec![("/a/data.pkl", &pickle[..])], "points outside"),
        (vec![("a/other", &pickle[..])], "no data.pkl"),
        (
            vec![("a/data.pkl", &pickle[..]), ("b/data.pkl", &pickle[..])],
            "two entries",
        ),
        (
            vec![("a/data.pkl", &pickle[..]), ("a/byteorder", b"big")],
            "big-endian",
        ),
    ] {
        let error = read_zip(&archive(&entries)).unwrap_err();
        assert!(error.contains(want), "{want}: {error}");
    }
    // One bit of the pickle's data: the checksum tells.
    let at = good
        .windows(pickle.len())
        .position(|w| w == pickle)
        .unwrap();
    good[at + 2] ^= 1;
    assert!(read_zip(&good).is_err());
}

#[test]
fn a_long_key_that_is_used_again_and_again_takes_no_memory() {
    let long = "k".repeat(1 << 20);
    // {long: {0: tensor, 1: tensor, ...}}: the long key is in every name.
    let item = tensor("FloatStorage", "0", 0, &[1], &[1]);
    let inner: Vec<u8> = (1..200)
        .flat_map(|i| [int(i), b"h\x01".to_vec()].concat())
        .collect();
    let inner = [
        b"}(".to_vec(),
        int(0),
        item,
        b"q\x01".to_vec(),
        inner,
        b"u".to_vec(),
    ]
    .concat();
    let pickle = dict(&[(&long, inner)]);
    let error = read_zip(&zipped(&pickle, &[("0", floats(&[7.0]))])).unwrap_err();
    assert!(error.contains("32 MiB of names"), "{error}");
    // {long: None, long: None, ...}: only a few names are kept.
    let repeated = b"h\x00N".repeat(100_000);
    let head = [b"\x80\x02}(".to_vec(), text(&long), b"q\x00N".to_vec()].concat();
    let pickle = [head, repeated, b"u.".to_vec()].concat();
    let file = read_zip(&zipped(&pickle, &[])).unwrap();
    let [notice] = &file.notices[..] else {
        panic!("{}", file.notices.len());
    };
    assert!(notice.starts_with("100001 entries"), "{notice}");
    assert!(notice.len() < 20_000, "{}", notice.len());
}

#[test]
fn calls_that_copy_again_and_again_take_no_memory() {
    let error = |pickle: &[u8]| read_zip(&zipped(pickle, &[])).unwrap_err();
    // One list of pairs, made an OrderedDict again and again.
    let pairs = [
        b"\x80\x02((K\x01K\x02tq\x01]q\x00(".to_vec(),
        b"h\x01".repeat(100_000),
        b"eccollections\nOrderedDict\nq\x02".to_vec(),
    ];
    let call = b"h\x02h\x00\x85R".repeat(200);
    let reason = error(&[pairs.concat(), call, b"t.".to_vec()].concat());
    assert!(reason.contains("values in its containers"), "{reason}");
    // One tensor's arguments, made a tensor again and again.
    let storage = tuple(&[
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        int(1),
    ]);
    let sizes = tuple(&vec![int(1); 64]);
    let arguments = tuple(&[
        [storage, b"Q".to_vec()].concat(),
        int(0),
        sizes.clone(),
        sizes,
    ]);
    let pickle = [
        b"\x80\x02(".to_vec(),
        arguments,
        b"q\x00ctorch._utils\n_rebuild_tensor_v2\nq\x01".to_vec(),
        b"h\x01h\x00R".repeat(300_000),
        b"t.".to_vec(),
    ];
    let reason = error(&pickle.concat());
    assert!(reason.contains("values in its containers"), "{reason}");
}
