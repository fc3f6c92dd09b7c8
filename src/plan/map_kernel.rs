//! Writes the kernel around an elementwise WGSL function: loads the operands
//! (broadcast as their shapes say), calls the function, stores the result.
//!
//! How each operand is read is part of the kernel; sizes and strides are not.

use std::fmt::Write;

use super::{KernelSource, join};
use crate::error::{Error, Result};
use crate::graph::MapCall;
use crate::ops::shader_lib::GRID;
use crate::shape::{MAX_RANK, Shape};

const WG_SIZE: u64 = 64;

/// How an operand is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Element by element, as the output.
    Same,
    /// One element for all.
    One,
    /// By strides.
    Strided,
}

/// A kernel with its parameters and size.
pub struct Made {
    pub kernel: KernelSource,
    pub params: Vec<u32>,
    pub workgroups: u64,
}

/// The kernel that computes `output` elements of `call` from `inputs`.
pub fn make(call: &MapCall, inputs: &[&Shape], output: &Shape) -> Result<Made> {
    let mut access = Vec::with_capacity(inputs.len());
    let mut strides = Vec::with_capacity(inputs.len());
    for input in inputs {
        let by = input.strides_as(output).ok_or_else(|| {
            Error::Graph(format!(
                "{}: {input} does not broadcast to {output}",
                call.function
            ))
        })?;
        access.push(if input.numel() == output.numel() {
            Access::Same
        } else if input.numel() == 1 {
            Access::One
        } else {
            Access::Strided
        });
        strides.push(by);
    }
    let axes = merge(output.dims(), &strides);
    // Four elements an invocation where no operand is read by strides.
    let wide = !access.contains(&Access::Strided);
    let items = if wide {
        output.numel().div_ceil(4)
    } else {
        output.numel()
    };

    let mut params = vec![
        items as u32,
        axes.len() as u32,
        call.constant.unwrap_or(0.0).to_bits(),
        0,
    ];
    let mut push_axes = |values: Vec<usize>| {
        let mut words: Vec<u32> = values.into_iter().map(|v| v as u32).collect();
        words.resize(MAX_RANK, 0);
        params.extend(words);
    };
    if !wide {
        push_axes(axes.iter().map(|axis| axis.0).collect());
        for i in 0..inputs.len() {
            push_axes(axes.iter().map(|axis| axis.1[i]).collect());
        }
    }
    Ok(Made {
        kernel: KernelSource {
            label: label(call, &access),
            entry: "main".to_string(),
            source: join(
                &[&[GRID], call.libs].concat(),
                &format!("{}\n{}", call.source, text(call, &access, wide)),
            ),
            reads: inputs.len(),
        },
        params,
        workgroups: (items as u64).div_ceil(WG_SIZE),
    })
}

fn label(call: &MapCall, access: &[Access]) -> String {
    let how: String = access
        .iter()
        .map(|a| match a {
            Access::Same => 's',
            Access::One => '1',
            Access::Strided => 'b',
        })
        .collect();
    format!("{}.{how}", call.function)
}

/// Axes as (size, stride of each input), neighbours merged where every input
/// walks through both without a gap.
fn merge(dims: &[usize], strides: &[Vec<usize>]) -> Vec<(usize, Vec<usize>)> {
    let mut axes: Vec<(usize, Vec<usize>)> = Vec::new();
    for (axis, &size) in dims.iter().enumerate().filter(|(_, size)| **size != 1) {
        let by: Vec<usize> = strides.iter().map(|s| s[axis]).collect();
        match axes.last_mut() {
            Some((outer, outer_by)) if outer_by.iter().zip(&by).all(|(o, i)| *o == i * size) => {
                *outer *= size;
                *outer_by = by;
            }
            _ => axes.push((size, by)),
        }
    }
    axes
}

fn text(call: &MapCall, access: &[Access], wide: bool) -> String {
    let count = access.len();
    let mut s = String::new();
    let item = if wide { "vec4<f32>" } else { "f32" };
    // `String` takes all that is written to it, so these writes cannot fail.
    let _ = write!(
        s,
        "struct Params {{\n    items: u32,\n    rank: u32,\n    constant: f32,\n    unused: u32,\n"
    );
    if !wide {
        let _ = write!(s, "    sizes: array<vec4<u32>, 2>,\n");
        let _ = write!(s, "    strides: array<vec4<u32>, {}>,\n", 2 * count);
    }
    let _ = write!(
        s,
        "}}\n\n@group(0) @binding(0) var<uniform> params: Params;\n"
    );
    for (i, a) in access.iter().enumerate() {
        let of = if *a == Access::One { "f32" } else { item };
        let _ = write!(
            s,
            "@group(0) @binding({}) var<storage, read> x{i}: array<{of}>;\n",
            i + 1
        );
    }
    let _ = write!(
        s,
        "@group(0) @binding({}) var<storage, read_write> y: array<{item}>;\n\n",
        count + 1
    );
    let _ = write!(
        s,
        "@compute @workgroup_size({WG_SIZE})\nfn main(\n    \
         @builtin(workgroup_id) wid: vec3<u32>,\n    \
         @builtin(num_workgroups) count: vec3<u32>,\n    \
         @builtin(local_invocation_index) lane: u32,\n) {{\n    \
         let i = workgroup_index(wid, count) * {WG_SIZE}u + lane;\n    \
         if (i >= params.items) {{\n        return;\n    }}\n"
    );
    if access.contains(&Access::Strided) {
        for (i, _) in strided(access) {
            let _ = write!(s, "    var at{i} = 0u;\n");
        }
        let _ = write!(
            s,
            "    var rest = i;\n    for (var a = params.rank; a > 0u; a -= 1u) {{\n        \
             let axis = a - 1u;\n        \
             let size = params.sizes[axis / 4u][axis % 4u];\n        \
             let place = rest % size;\n        rest /= size;\n"
        );
        for (i, _) in strided(access) {
            let first = 2 * i;
            let _ = write!(
                s,
                "        at{i} += place * params.strides[{first}u + axis / 4u][axis % 4u];\n"
            );
        }
        let _ = write!(s, "    }}\n");
    }
    for (i, a) in access.iter().enumerate() {
        let at = match a {
            Access::Same => "i".to_string(),
            Access::One => "0u".to_string(),
            Access::Strided => format!("at{i}"),
        };
        let _ = write!(s, "    let v{i} = x{i}[{at}];\n");
    }
    let apply = |lane: &str| {
        let mut args: Vec<_> = access
            .iter()
            .enumerate()
            .map(|(i, a)| match a {
                Access::One => format!("v{i}"),
                _ => format!("v{i}{lane}"),
            })
            .collect();
        if call.constant.is_some() {
            args.push("params.constant".to_string());
        }
        format!("{}({})", call.function, args.join(", "))
    };
    if wide {
        let _ = write!(s, "    y[i] = vec4<f32>(\n");
        for lane in [".x", ".y", ".z", ".w"] {
            let _ = write!(s, "        {},\n", apply(lane));
        }
        let _ = write!(s, "    );\n}}\n");
    } else {
        let _ = write!(s, "    y[i] = {};\n}}\n", apply(""));
    }
    s
}

fn strided(access: &[Access]) -> impl Iterator<Item = (usize, &Access)> {
    access
        .iter()
        .enumerate()
        .filter(|(_, a)| **a == Access::Strided)
}
