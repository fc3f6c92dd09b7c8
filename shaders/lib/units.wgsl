// What a kernel enables that multiplies with an adapter's matrix units ("tensor cores"); such lines
// come first. The second is wgpu's own extension, not WebGPU's.
enable f16;
enable wgpu_cooperative_matrix;
