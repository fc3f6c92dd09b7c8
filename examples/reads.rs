//! What a plain kernel reads, for the share that a step of a row program has of it:
//! invocations that read one or eight vec4 each and write nothing, with their answer
//! awaited each time or sixteen in a queue, over the bytes of 65,536 rows of 4-2-1 and
//! over 32 MiB.
//!
//! ```sh
//! cargo run --release --example reads
//! ```

use std::error::Error;
use std::time::Instant;

use wgpu::util::DeviceExt;

/// Seconds of timing for each line.
const SECONDS: f64 = 1.0;
/// Invocations of a workgroup.
const LANES: usize = 64;
/// Workgroups along the first axis of a dispatch.
const ACROSS: usize = 32_768;
/// Rows of four numbers and a target.
const ROWS: usize = 65_536 * 20;

fn main() -> Result<(), Box<dyn Error>> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapter = pollster::block_on(instance.request_adapter(&Default::default()))?;
    let wanted = wgpu::DeviceDescriptor {
        required_limits: adapter.limits(),
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&wanted))?;
    println!("{}\n", adapter.get_info().name);
    println!("| bytes | vec4 an invocation | answer | us, median | GB/s | GB/s, best |");
    println!("| ---: | ---: | --- | ---: | ---: | ---: |");
    for bytes in [ROWS, 32 << 20] {
        for vectors in [1, 8] {
            for steps in [1, 16] {
                let mut times = time(&device, &queue, bytes, vectors, steps)?;
                times.sort_by(f64::total_cmp);
                let median = times[times.len() / 2];
                let rate = |seconds: f64| bytes as f64 / seconds * 1e-9;
                println!(
                    "| {bytes} | {vectors} | {} | {:.0} | {:.2} | {:.2} |",
                    if steps == 1 { "each" } else { "of sixteen" },
                    median * 1e6,
                    rate(median),
                    rate(times[0]),
                );
            }
        }
    }
    Ok(())
}

/// The kernel: `vectors` streams, `apart` vec4 from one to the next. What it writes it
/// never does, which a compiler cannot know.
fn source(vectors: usize, apart: usize) -> String {
    let terms: Vec<_> = (0..vectors)
        .map(|k| format!("given[i + {}u]", k * apart))
        .collect();
    format!(
        "@group(0) @binding(0) var<storage, read> given: array<vec4<f32>>;
         @group(0) @binding(1) var<storage, read_write> made: array<vec4<f32>>;
         @compute @workgroup_size({LANES})
         fn main(
             @builtin(workgroup_id) wid: vec3<u32>,
             @builtin(num_workgroups) count: vec3<u32>,
             @builtin(local_invocation_index) lane: u32,
         ) {{
             let i = (wid.y * count.x + wid.x) * {LANES}u + lane;
             let sum = {};
             if (sum.x == 1e30) {{
                 made[0] = sum;
             }}
         }}",
        terms.join(" + ")
    )
}

/// Seconds of a dispatch, of `steps` in a submission whose answer is awaited.
fn time(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    bytes: usize,
    vectors: usize,
    steps: usize,
) -> Result<Vec<f64>, Box<dyn Error>> {
    let invocations = bytes / 16 / vectors;
    let workgroups = invocations / LANES;
    let grid = [workgroups.min(ACROSS), workgroups.div_ceil(ACROSS)].map(|n| n as u32);
    let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some("reads"),
        source: wgpu::ShaderSource::Wgsl(source(vectors, invocations).into()),
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: Some("reads"),
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    });
    let given = device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
        label: Some("given"),
        contents: bytemuck::cast_slice(&vec![1.0f32; bytes / 4]),
        usage: wgpu::BufferUsages::STORAGE,
    });
    let buffer = |label, usage| {
        device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: 16,
            usage,
            mapped_at_creation: false,
        })
    };
    use wgpu::BufferUsages as Usage;
    let made = buffer("made", Usage::STORAGE | Usage::COPY_SRC);
    let answer = buffer("answer", Usage::MAP_READ | Usage::COPY_DST);
    let group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("reads"),
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[
            wgpu::BindGroupEntry {
                binding: 0,
                resource: given.as_entire_binding(),
            },
            wgpu::BindGroupEntry {
                binding: 1,
                resource: made.as_entire_binding(),
            },
        ],
    });
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.is_empty() || begin.elapsed().as_secs_f64() < SECONDS {
        let start = Instant::now();
        let mut encoder = device.create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&pipeline);
        pass.set_bind_group(0, &group, &[]);
        for _ in 0..steps {
            pass.dispatch_workgroups(grid[0], grid[1], 1);
        }
        drop(pass);
        encoder.copy_buffer_to_buffer(&made, 0, &answer, 0, 16);
        queue.submit([encoder.finish()]);
        let (sender, receiver) = std::sync::mpsc::channel();
        answer
            .slice(..)
            .map_async(wgpu::MapMode::Read, move |result| {
                // The receiver is gone only if the wait below has failed, which says so.
                let _ = sender.send(result);
            });
        device.poll(wgpu::PollType::wait_indefinitely())?;
        receiver.recv()??;
        answer.unmap();
        times.push(start.elapsed().as_secs_f64() / steps as f64);
    }
    Ok(times)
}
