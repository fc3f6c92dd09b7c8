//! Writes the kernel around an elementwise WGSL function: loads the operands
//! (broadcast as their shapes say), calls the function, stores the result.
//!
//! How each operand is read is part of the kernel; sizes and strides are not.

use super::KernelSource;
use super::planner::join;
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
            writes: 1,
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

/// The kernel's text after the functions: parameters, bindings, entry point.
fn text(call: &MapCall, access: &[Access], wide: bool) -> String {
    let count = access.len();
    let item = if wide { "vec4<f32>" } else { "f32" };
    let mut lines: Vec<String> = Vec::new();
    let mut put = |line: &str| lines.push(line.to_string());

    put("struct Params {");
    put("    items: u32,");
    put("    rank: u32,");
    put("    constant: f32,");
    put("    unused: u32,");
    if !wide {
        put("    sizes: array<vec4<u32>, 2>,");
        put(&format!("    strides: array<vec4<u32>, {}>,", 2 * count));
    }
    put("}");
    put("");
    put("@group(0) @binding(0) var<uniform> params: Params;");
    for (i, how) in access.iter().enumerate() {
        let of = if *how == Access::One { "f32" } else { item };
        let binding = i + 1;
        put(&format!(
            "@group(0) @binding({binding}) var<storage, read> x{i}: array<{of}>;"
        ));
    }
    let binding = count + 1;
    put(&format!(
        "@group(0) @binding({binding}) var<storage, read_write> y: array<{item}>;"
    ));
    put("");
    put(&format!("@compute @workgroup_size({WG_SIZE})"));
    put("fn main(");
    put("    @builtin(workgroup_id) wid: vec3<u32>,");
    put("    @builtin(num_workgroups) count: vec3<u32>,");
    put("    @builtin(local_invocation_index) lane: u32,");
    put(") {");
    put(&format!(
        "    let i = workgroup_index(wid, count) * {WG_SIZE}u + lane;"
    ));
    put("    if (i >= params.items) {");
    put("        return;");
    put("    }");
    if !wide {
        for (i, _) in strided(access) {
            put(&format!("    var at{i} = 0u;"));
        }
        put("    var rest = i;");
        put("    for (var a = params.rank; a > 0u; a -= 1u) {");
        put("        let axis = a - 1u;");
        put("        let size = params.sizes[axis / 4u][axis % 4u];");
        put("        let place = rest % size;");
        put("        rest /= size;");
        for (i, _) in strided(access) {
            let first = 2 * i;
            put(&format!(
                "        at{i} += place * params.strides[{first}u + axis / 4u][axis % 4u];"
            ));
        }
        put("    }");
    }
    for (i, how) in access.iter().enumerate() {
        let at = match how {
            Access::Same => "i".to_string(),
            Access::One => "0u".to_string(),
            Access::Strided => format!("at{i}"),
        };
        put(&format!("    let v{i} = x{i}[{at}];"));
    }
    if wide {
        put("    y[i] = vec4<f32>(");
        for part in [".x", ".y", ".z", ".w"] {
            put(&format!("        {},", apply(call, access, part)));
        }
        put("    );");
    } else {
        put(&format!("    y[i] = {};", apply(call, access, "")));
    }
    put("}");
    lines.join("\n") + "\n"
}

/// The call of the function on one part of the loaded operands.
fn apply(call: &MapCall, access: &[Access], part: &str) -> String {
    let mut arguments: Vec<_> = access
        .iter()
        .enumerate()
        .map(|(i, how)| match how {
            Access::One => format!("v{i}"),
            _ => format!("v{i}{part}"),
        })
        .collect();
    if call.constant.is_some() {
        arguments.push("params.constant".to_string());
    }
    format!("{}({})", call.function, arguments.join(", "))
}

fn strided(access: &[Access]) -> impl Iterator<Item = (usize, &Access)> {
    access
        .iter()
        .enumerate()
        .filter(|(_, a)| **a == Access::Strided)
}
