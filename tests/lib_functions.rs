//! The functions of `shaders/lib/`, run on a GPU adapter and compared with f64, input by input.
//!
//! Three comparisons: the device against f64 (the promised bounds), a CPU mirror of the same
//! formulas against f64 with every product and sum fused and with none fused (a GPU may do either),
//! and the device against both mirrors (printed: it tells which of the two the device does).
//!
//! `WGRAD_EXHAUSTIVE=1 cargo test --release --test lib_functions -- --nocapture` visits all 2^32
//! inputs instead of a stride; `WGRAD_EXHAUSTIVE=exp_f32,log_f32` does so for the named functions.

use std::time::Instant;

use wgrad::check::card::functions::{self, NANS};

const LIBRARY: [&str; 4] = [
    include_str!("../shaders/lib/float.wgsl"),
    include_str!("../shaders/lib/exp.wgsl"),
    include_str!("../shaders/lib/log.wgsl"),
    include_str!("../shaders/lib/sigmoid.wgsl"),
];

/// The library's ways of rounding a value here and now, and who takes which.
const TARGETS: [(&str, &str); 2] = [
    ("", include_str!("../shaders/lib/target.wgsl")),
    (
        "row programs on GPUs",
        include_str!("../shaders/lib/target_gpu.wgsl"),
    ),
];
const ANY: &str = TARGETS[0].1;

const INF: u32 = 0x7f80_0000;
const NEG_INF: u32 = 0xff80_0000;
const ZERO: u32 = 0;
const NEG_ZERO: u32 = 0x8000_0000;
const ONE: u32 = 0x3f80_0000;

/// A function with its formulas on the CPU.
struct Function {
    promise: &'static functions::Function,
    unfused: fn(f32) -> f32,
    fused: fn(f32) -> f32,
}

/// Every function of the library's table.
fn all() -> Vec<Function> {
    type Twin = fn(f32) -> f32;
    let twins = |name: &str| -> [Twin; 2] {
        match name {
            "exp" => [mirror::exp::<false>, mirror::exp::<true>],
            "log" => [mirror::log::<false>, mirror::log::<true>],
            "log1p" => [mirror::log1p::<false>, mirror::log1p::<true>],
            "sigmoid" => [mirror::sigmoid::<false>, mirror::sigmoid::<true>],
            "softplus_neg_abs" => [
                mirror::softplus_neg_abs::<false>,
                mirror::softplus_neg_abs::<true>,
            ],
            other => panic!("{other} has no mirror"),
        }
    };
    let with_twins = |promise: &'static functions::Function| {
        let [unfused, fused] = twins(promise.name);
        Function {
            promise,
            unfused,
            fused,
        }
    };
    functions::FUNCTIONS.iter().map(with_twins).collect()
}

/// The formulas of `shaders/lib/`, in the same order, for the CPU. `FUSED` contracts every
/// `a * b + c` of the shader into one rounding.
mod mirror {
    use std::f32::consts::LOG2_E;
    const LN2_HI: f32 = 0.693_145_75;
    const LN2_LO: f32 = 1.428_606_8e-6;
    const TWO_23: f32 = 8_388_608.0;
    const ROUND: f32 = 1.5 * TWO_23;
    const EXP: [f32; 6] = [
        0.000_197_901_35,
        0.001_394_486_9,
        0.008_333_499,
        0.041_666_29,
        0.166_666_66,
        0.5,
    ];
    const LOG: [f32; 9] = [
        0.037_672_915,
        -0.091_161_884,
        0.117_006_59,
        -0.127_277_78,
        0.142_762_4,
        -0.166_552_96,
        0.199_996_05,
        -0.250_001_64,
        0.333_333_4,
    ];

    fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
        if FUSED { a.mul_add(b, c) } else { a * b + c }
    }

    /// The first three pairs of neighbours and powers of x^2, then one by one.
    fn polynomial<const FUSED: bool>(coefficients: &[f32], x: f32) -> f32 {
        let (upper, lower) = coefficients.split_at(6);
        let pairs = upper
            .chunks_exact(2)
            .map(|pair| mul_add::<FUSED>(pair[0], x, pair[1]));
        let upper = pairs
            .reduce(|p, pair| mul_add::<FUSED>(p, x * x, pair))
            .unwrap_or(0.0);
        let lower = lower.iter().copied();
        lower.fold(upper, |p, c| mul_add::<FUSED>(p, x, c))
    }

    pub fn exp<const FUSED: bool>(x: f32) -> f32 {
        if x.is_nan() {
            return x;
        }
        let a = x.clamp(-104.0, 89.0);
        let sum = mul_add::<FUSED>(a, LOG2_E, ROUND);
        let k = sum - ROUND;
        let r_hi = mul_add::<FUSED>(-k, LN2_HI, a);
        let r_lo = k * LN2_LO;
        let r = if FUSED {
            (-k).mul_add(LN2_LO, r_hi)
        } else {
            r_hi - r_lo
        };
        let q = polynomial::<FUSED>(&EXP, r);
        let p = (1.0 + (r_hi + mul_add::<FUSED>(r * r, q, -r_lo))).to_bits();
        let normal = p.wrapping_add(sum.to_bits() << 23);
        let bits = if (normal as i32) < 0x0080_0000 {
            let scaled = f32::from_bits(normal.wrapping_add(149 << 23));
            (scaled + TWO_23).to_bits() - TWO_23.to_bits()
        } else {
            normal.min(f32::INFINITY.to_bits())
        };
        f32::from_bits(bits)
    }

    fn log_kernel<const FUSED: bool>(f: f32, k: f32) -> f32 {
        let p = polynomial::<FUSED>(&LOG, f);
        let inner = mul_add::<FUSED>(p, f, -0.5);
        // Either product may be the fused one; this is the worse way (0.916 against 0.908 ULP).
        let tail = if FUSED {
            (f * f).mul_add(inner, k * LN2_LO)
        } else {
            f * f * inner + k * LN2_LO
        };
        mul_add::<FUSED>(k, LN2_HI, f + tail)
    }

    fn log_exponent(bits: u32) -> i32 {
        (bits as i32 - 0x3f40_0000) >> 23
    }

    pub fn log<const FUSED: bool>(x: f32) -> f32 {
        if x.is_nan() || x == f32::INFINITY {
            return x;
        } else if x == 0.0 {
            return f32::NEG_INFINITY;
        } else if x < 0.0 {
            return f32::NAN;
        }
        let bits = x.to_bits();
        let up = if bits < 0x0080_0000 {
            bits.leading_zeros() - 8
        } else {
            0
        };
        let scaled = bits << up;
        let k = log_exponent(scaled);
        let m = f32::from_bits((scaled as i32 - (k << 23)) as u32);
        log_kernel::<FUSED>(m - 1.0, (k - up as i32) as f32)
    }

    pub fn log1p<const FUSED: bool>(x: f32) -> f32 {
        if x.is_nan() || x == f32::INFINITY || x.abs() < 2f32.powi(-25) {
            return x;
        } else if x == -1.0 {
            return f32::NEG_INFINITY;
        } else if x < -1.0 {
            return f32::NAN;
        }
        let sum_k = log_exponent((1.0 + x).to_bits());
        let k = if x < 0.5 { sum_k.min(0) } else { sum_k };
        let x_scaled = f32::from_bits((x.to_bits() as i32 - (k << 23)) as u32);
        let power = f32::from_bits(((127 - k.min(30)) << 23) as u32);
        log_kernel::<FUSED>(x_scaled + (power - 1.0), k as f32)
    }

    fn upper_half(x: f32) -> f32 {
        f32::from_bits(x.to_bits() & 0xffff_f000)
    }

    fn reciprocal_of_one_plus<const FUSED: bool>(e: f32) -> f32 {
        let sum = 1.0 + e;
        let lost = e - (sum - 1.0);
        let r = upper_half(1.0 / sum);
        let sum_hi = upper_half(sum);
        let sum_lo = (sum - sum_hi) + lost;
        let remainder = mul_add::<FUSED>(-sum_lo, r, mul_add::<FUSED>(-sum_hi, r, 1.0));
        r + r * mul_add::<FUSED>(remainder, remainder, remainder)
    }

    pub fn sigmoid<const FUSED: bool>(x: f32) -> f32 {
        if x.is_nan() {
            return x;
        }
        let e = exp::<FUSED>(-x.abs());
        let reciprocal = reciprocal_of_one_plus::<FUSED>(e);
        match x.is_sign_negative() {
            true if e.to_bits() < 0x3080_0000 => e,
            true => e * reciprocal,
            false => reciprocal,
        }
    }

    pub fn softplus_neg_abs<const FUSED: bool>(x: f32) -> f32 {
        log1p::<FUSED>(exp::<FUSED>(-x.abs()))
    }
}

/// `count` floats whose bit patterns start at `first` and are `stride` apart.
#[derive(Clone, Copy)]
struct Range {
    first: u32,
    stride: u32,
    count: u64,
}

/// A prime, so that the low bits of the inputs take every value.
const STRIDE: u32 = 4093;
const DENSE: u32 = 1 << 12;
const CHUNK: u64 = 1 << 20;

impl Range {
    fn strided(stride: u32) -> Range {
        Range {
            first: 0,
            stride,
            count: (1_u64 << 32).div_ceil(u64::from(stride)),
        }
    }

    /// The floats around `x`: below a zero's bit pattern this would leave its sign, so start there.
    fn around(x: f32) -> Range {
        let bits = x.to_bits();
        let back = DENSE.min(bits & 0x7fff_ffff);
        Range {
            first: bits - back,
            stride: 1,
            count: u64::from(back + DENSE),
        }
    }

    fn bits(&self, index: u64) -> u32 {
        (u64::from(self.first) + index * u64::from(self.stride)) as u32
    }

    fn chunks(self) -> impl Iterator<Item = Range> {
        (0..self.count)
            .step_by(CHUNK as usize)
            .map(move |at| Range {
                first: self.bits(at),
                stride: self.stride,
                count: CHUNK.min(self.count - at),
            })
    }
}

/// Distance in units of the last place a float32 has at the exact result (2^-149 if subnormal).
fn ulp_error(got: f32, exact: f64) -> f64 {
    if exact.is_nan() || got.is_nan() {
        return if exact.is_nan() && got.is_nan() {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let nearest = exact as f32;
    if nearest.is_infinite() || got.is_infinite() {
        return if got == nearest { 0.0 } else { f64::INFINITY };
    }
    let exponent = ((exact.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let unit = 2f64.powi((exponent - 23).max(-149));
    (f64::from(got) - exact).abs() / unit
}

/// The largest error so far and where it was met.
#[derive(Default)]
struct Worst {
    ulp: f64,
    input: u32,
    got: f32,
}

impl Worst {
    fn see(&mut self, input: u32, got: f32, exact: f64) {
        let ulp = ulp_error(got, exact);
        if ulp > self.ulp {
            *self = Worst { ulp, input, got };
        }
    }
}

impl std::fmt::Display for Worst {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let x = f32::from_bits(self.input);
        write!(f, "{:6.3} at {x:<15e} (0x{:08x})", self.ulp, self.input)
    }
}

/// A device and the three buffers every dispatch of this test uses.
struct Gpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    name: String,
    range: wgpu::Buffer,
    output: wgpu::Buffer,
    staging: wgpu::Buffer,
}

impl Gpu {
    fn new() -> Gpu {
        let instance =
            wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let adapter =
            match pollster::block_on(instance.request_adapter(&wgpu::RequestAdapterOptions {
                power_preference: wgpu::PowerPreference::HighPerformance,
                ..Default::default()
            })) {
                Ok(adapter) => adapter,
                Err(error) => panic!(
                    "this test needs a GPU adapter and found none; on Debian or Ubuntu a software \
                     one is in the package mesa-vulkan-drivers\n{error}"
                ),
            };
        let info = adapter.get_info();
        let (device, queue) = pollster::block_on(adapter.request_device(&Default::default()))
            .expect("an adapter gives a device with default limits");
        let buffer = |label, size, usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size,
                usage,
                mapped_at_creation: false,
            })
        };
        use wgpu::BufferUsages as Use;
        Gpu {
            name: format!(
                "{} ({:?}, {} {})",
                info.name, info.backend, info.driver, info.driver_info
            ),
            range: buffer("range", 32, Use::UNIFORM | Use::COPY_DST),
            output: buffer("output", CHUNK * 4, Use::STORAGE | Use::COPY_SRC),
            staging: buffer("staging", CHUNK * 4, Use::MAP_READ | Use::COPY_DST),
            device,
            queue,
        }
    }

    /// A pipeline that evaluates `expression`, a u32, for every `x` of a range, with the library
    /// as `target` takes it.
    fn pipeline(&self, target: &str, expression: &str) -> wgpu::ComputePipeline {
        let library = LIBRARY.concat();
        let source = format!("{library}{target}{}", entry_point(expression));
        let module = self
            .device
            .create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(expression),
                source: wgpu::ShaderSource::Wgsl(source.into()),
            });
        self.device
            .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(expression),
                layout: None,
                module: &module,
                entry_point: Some("sweep"),
                compilation_options: Default::default(),
                cache: None,
            })
    }

    /// Evaluates one range of at most `CHUNK` inputs and hands the resulting bits to `see`.
    fn run(&self, pipeline: &wgpu::ComputePipeline, range: Range, see: impl FnOnce(&[u32])) {
        let count = u32::try_from(range.count).expect("a chunk is small");
        let one = 1.0_f32.to_bits();
        let words = [range.first, range.stride, count, 0, one, one, 0, 0];
        self.queue
            .write_buffer(&self.range, 0, bytemuck::cast_slice(&words));
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: self.range.as_entire_binding(),
                },
                wgpu::BindGroupEntry {
                    binding: 1,
                    resource: self.output.as_entire_binding(),
                },
            ],
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(count.div_ceil(64), 1, 1);
        }
        let bytes = range.count * 4;
        encoder.copy_buffer_to_buffer(&self.output, 0, &self.staging, 0, bytes);
        self.queue.submit([encoder.finish()]);
        let slice = self.staging.slice(..bytes);
        slice.map_async(wgpu::MapMode::Read, |result| {
            result.expect("the staging buffer maps")
        });
        self.device
            .poll(wgpu::PollType::wait_indefinitely())
            .expect("the device answers");
        {
            let view = slice
                .get_mapped_range()
                .expect("the staging buffer is mapped");
            see(bytemuck::cast_slice(&view));
        }
        self.staging.unmap();
    }

    /// Whether the device turns subnormals into zeros even when it only copies them.
    fn flushes_copies(&self) -> bool {
        let copy = self.pipeline(ANY, "bitcast<u32>(x)");
        [1, 0x007f_ffff, 0x8000_0001]
            .iter()
            .any(|bits| self.one(&copy, *bits) != *bits)
    }

    fn one(&self, pipeline: &wgpu::ComputePipeline, input: u32) -> u32 {
        let mut result = 0;
        let range = Range {
            first: input,
            stride: 1,
            count: 1,
        };
        self.run(pipeline, range, |bits| result = bits[0]);
        result
    }
}

fn entry_point(expression: &str) -> String {
    format!(
        "
struct Params {{ first: u32, stride: u32, count: u32, unused: u32, one: f32, unit: f32 }}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(64) fn sweep(@builtin(global_invocation_id) gid: vec3<u32>) {{
    if gid.x >= params.count {{ return; }}
    let x = bitcast<f32>(params.first + gid.x * params.stride);
    output[gid.x] = {expression};
}}
"
    )
}

/// Whether the named function is to be tried on every float (`WGRAD_EXHAUSTIVE`).
fn exhaustive(name: &str) -> bool {
    std::env::var("WGRAD_EXHAUSTIVE")
        .is_ok_and(|list| list == "1" || list.split(',').any(|item| item.trim() == name))
}

fn is_subnormal(bits: u32) -> bool {
    f32::from_bits(bits).is_subnormal()
}

/// What a sweep over one function found.
#[derive(Default)]
struct Sweep {
    worst: Worst,
    inputs: u64,
    /// Results that stand for a subnormal on a device which turns every subnormal into zero.
    excused: u64,
    /// Results equal to those of the unfused and of the fused mirror.
    same: [u64; 2],
}

/// Compares what `pipeline` computes with the exact function, over every `stride`-th float and
/// over every float near the hard spots.
fn sweep(
    gpu: &Gpu,
    function: &Function,
    pipeline: &wgpu::ComputePipeline,
    stride: u32,
    flushes: bool,
) -> Sweep {
    let mut found = Sweep::default();
    let spots = function
        .promise
        .hard_spots
        .iter()
        .map(|x| Range::around(*x));
    for chunk in std::iter::once(Range::strided(stride))
        .chain(spots)
        .flat_map(Range::chunks)
    {
        gpu.run(pipeline, chunk, |results| {
            for (index, bits) in results.iter().enumerate() {
                let input = chunk.bits(index as u64);
                let x = f32::from_bits(input);
                let got = f32::from_bits(*bits);
                let exact = (function.promise.exact)(f64::from(x));
                found.inputs += 1;
                let twins = [function.unfused, function.fused];
                for (count, twin) in found.same.iter_mut().zip(twins) {
                    let twin = twin(x);
                    *count += u64::from(twin == got || twin.is_nan() && got.is_nan());
                }
                if flushes && (is_subnormal(input) || is_subnormal((exact as f32).to_bits())) {
                    let at_zero = (function.promise.exact)(f64::copysign(0.0, f64::from(x)));
                    if got == 0.0 || f64::from(got) == at_zero {
                        found.excused += 1;
                        continue;
                    }
                }
                found.worst.see(input, got, exact);
            }
        });
    }
    found
}

#[test]
fn results_on_the_device_are_within_their_bounds() {
    let gpu = Gpu::new();
    println!("adapter: {}", gpu.name);

    // A device may turn a subnormal into zero even when it is only copied; then none of these
    // functions can return one, nor see one, and that much is excused below.
    let flushes = gpu.flushes_copies();
    let arithmetic = gpu.pipeline(ANY, "bitcast<u32>(x * 0.5)");
    println!(
        "subnormals: {} when copied, {} in arithmetic",
        if flushes {
            "FLUSHED TO ZERO (accepted below)"
        } else {
            "kept"
        },
        if gpu.one(&arithmetic, 0x0080_0000) == 0 {
            "flushed to zero"
        } else {
            "kept"
        },
    );

    let mut failures = Vec::new();
    println!(
        "{:<17} {:>6} {:>10}  {:<46} {:>9} {:>9} {:>7}",
        "function", "bound", "inputs", "max ULP, worst input", "=unfused", "=fused", "s"
    );
    let functions = all();
    let of_each = |(who, target)| functions.iter().map(move |f| (f, who, target));
    for (function, who, target) in TARGETS.into_iter().flat_map(of_each) {
        let started = Instant::now();
        let expression = format!("bitcast<u32>({}(x))", function.promise.wgsl);
        let pipeline = gpu.pipeline(target, &expression);
        let stride = if exhaustive(function.promise.wgsl) {
            1
        } else {
            STRIDE
        };
        let Sweep {
            worst,
            inputs,
            excused,
            same,
        } = sweep(&gpu, function, &pipeline, stride, flushes);
        println!(
            "{:<17} {:>6.2} {:>10}  {worst} {:>8.3}% {:>8.3}% {:>7.1} {who}",
            function.promise.wgsl,
            function.promise.bound,
            inputs,
            100.0 * same[0] as f64 / inputs as f64,
            100.0 * same[1] as f64 / inputs as f64,
            started.elapsed().as_secs_f64()
        );
        if excused > 0 {
            println!("    {excused} results flushed to zero by the device were accepted");
        }
        if worst.ulp > function.promise.bound {
            failures.push(format!(
                "{}: {worst} got {:e}, promised {}",
                function.promise.wgsl, worst.got, function.promise.bound
            ));
        }

        for &(input, expected) in function.promise.special {
            let got = gpu.one(&pipeline, input);
            let both_nan = f32::from_bits(got).is_nan() && f32::from_bits(expected).is_nan();
            let flushed = flushes && (is_subnormal(input) || is_subnormal(expected));
            if got != expected && !both_nan && !flushed {
                failures.push(format!(
                    "{}(0x{input:08x}) is 0x{got:08x}, not 0x{expected:08x}",
                    function.promise.wgsl
                ));
            }
        }
        for input in NANS {
            let got = gpu.one(&pipeline, input);
            if !f32::from_bits(got).is_nan() {
                failures.push(format!(
                    "{}(NaN 0x{input:08x}) is 0x{got:08x}",
                    function.promise.wgsl
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "on {}:\n{}",
        gpu.name,
        failures.join("\n")
    );
}

/// The sweep is able to fail: 4 ULP too many are seen, and so is a factor that is almost 1.
#[test]
fn a_wrong_function_exceeds_its_bound() {
    let gpu = Gpu::new();
    for function in &all() {
        let wrong = format!("bitcast<u32>({}(x)) + 4u", function.promise.wgsl);
        let found = sweep(
            &gpu,
            function,
            &gpu.pipeline(ANY, &wrong),
            65_537,
            gpu.flushes_copies(),
        );
        assert!(
            found.worst.ulp > function.promise.bound,
            "4 ULP too many in {}",
            function.promise.wgsl
        );

        let wrong = format!("bitcast<u32>({}(x) * 1.0000005)", function.promise.wgsl);
        let found = sweep(
            &gpu,
            function,
            &gpu.pipeline(ANY, &wrong),
            65_537,
            gpu.flushes_copies(),
        );
        assert!(
            found.worst.ulp > function.promise.bound,
            "a factor 1 + 5e-7 on {}",
            function.promise.wgsl
        );
    }
}

#[test]
fn formulas_are_within_their_bounds_with_and_without_fused_multiply_add() {
    println!(
        "{:<17} {:>6}  {:<8} max ULP, worst input",
        "CPU mirror", "bound", ""
    );
    for function in &all() {
        let stride = if exhaustive(function.promise.wgsl) {
            1
        } else {
            STRIDE
        };
        for (kind, twin) in [("unfused", function.unfused), ("fused", function.fused)] {
            let mut worst = Worst::default();
            let spots = function
                .promise
                .hard_spots
                .iter()
                .map(|x| Range::around(*x));
            for range in std::iter::once(Range::strided(stride)).chain(spots) {
                for index in 0..range.count {
                    let input = range.bits(index);
                    let x = f32::from_bits(input);
                    worst.see(input, twin(x), (function.promise.exact)(f64::from(x)));
                }
            }
            println!(
                "{:<17} {:>6.2}  {kind:<8} {worst}",
                function.promise.wgsl, function.promise.bound
            );
            assert!(
                worst.ulp <= function.promise.bound,
                "{} {kind}: {worst}",
                function.promise.wgsl
            );
        }
    }
}

#[test]
fn bit_tests_and_non_finite_constants_work_on_the_device() {
    let gpu = Gpu::new();
    let inputs = [
        ZERO,
        NEG_ZERO,
        1,
        0x807f_ffff,
        ONE,
        0x7f7f_ffff,
        0xff7f_ffff,
        INF,
        NEG_INF,
    ];
    let inputs = inputs.into_iter().chain(NANS);
    type Test = (&'static str, fn(f32) -> bool);
    let tests: [Test; 3] = [
        ("is_nan", f32::is_nan),
        ("is_inf", f32::is_infinite),
        ("is_finite", f32::is_finite),
    ];
    for (name, expected) in tests {
        let pipeline = gpu.pipeline(ANY, &format!("select(0u, 1u, {name}(x))"));
        for bits in inputs.clone() {
            let got = gpu.one(&pipeline, bits) == 1;
            let expected = expected(f32::from_bits(bits));
            assert_eq!(got, expected, "{name}(0x{bits:08x}) on {}", gpu.name);
        }
    }
    let inf = gpu.one(&gpu.pipeline(ANY, "bitcast<u32>(inf_f32())"), 0);
    assert_eq!(inf, INF, "inf_f32() on {}", gpu.name);
    let nan = gpu.one(&gpu.pipeline(ANY, "bitcast<u32>(nan_f32())"), 0);
    assert!(
        f32::from_bits(nan).is_nan(),
        "nan_f32() is 0x{nan:08x} on {}",
        gpu.name
    );
}

/// Needs no device: a mistake in the text of the library shows with its line.
#[test]
fn the_library_is_wgsl_and_calls_no_inexact_built_in() {
    let library = LIBRARY.concat();
    for (_, target) in TARGETS {
        let source = format!("{library}{target}{}", entry_point("0u"));
        if let Err(error) = naga::front::wgsl::parse_str(&source) {
            panic!("{}", error.emit_to_string(&source));
        }
    }
    let code = library + TARGETS[0].1 + TARGETS[1].1;
    let code = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    for line in code {
        let mut words = line
            .split_inclusive('(')
            .filter_map(|part| part.strip_suffix('('));
        let inexact = words.find(|part| {
            let name = part
                .rsplit(|c: char| !c.is_alphanumeric() && c != '_')
                .next();
            ["exp", "exp2", "log", "log2", "pow", "tanh", "sqrt", "fma"]
                .contains(&name.unwrap_or_default())
        });
        assert!(inexact.is_none(), "an inexact built-in in: {line}");
    }
}
