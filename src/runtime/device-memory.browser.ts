/** The same in a page, where the runtime shares its WebGPU device. */
import type { DeviceMemory } from "./device-memory.ts";
import { findRuntime } from "./load.ts";
import type { Device, OnnxValue } from "./program.ts";

/** What is used of the browser's own types. */
interface GpuBuffer {
  destroy(): void;
}
interface GpuDevice {
  readonly limits: { readonly maxStorageBufferBindingSize: number; readonly maxBufferSize: number };
  readonly queue: {
    writeBuffer(to: GpuBuffer, at: number, data: ArrayBufferLike, from: number, bytes: number): void;
  };
  createBuffer(description: { size: number; usage: number }): GpuBuffer;
}
/** Read by programs, read back, written to. */
const usage = 0x80 | 0x4 | 0x8;

/** After a program was compiled for the device. */
export async function deviceMemory(device: Device): Promise<DeviceMemory | undefined> {
  if (device !== "webgpu") return undefined;
  const { ort } = await findRuntime(device);
  const gpu = (await ort.env.webgpu.device) as unknown as GpuDevice | undefined;
  if (!gpu) return undefined;
  const most = Math.min(gpu.limits.maxStorageBufferBindingSize, gpu.limits.maxBufferSize);
  const copies = new Map<ArrayBufferLike, GpuBuffer>();
  const dropped: GpuBuffer[] = [];
  const send = (copy: GpuBuffer, buffer: ArrayBufferLike, from: number, bytes: number): void =>
    gpu.queue.writeBuffer(copy, from, buffer, from, bytes);
  return {
    value(type, data, dims) {
      for (const copy of dropped.splice(0)) copy.destroy();
      const { buffer } = data as ArrayBufferView;
      if (buffer.byteLength > most || buffer.byteLength % 4 !== 0)
        return new ort.Tensor(type as "float32", data as Float32Array, dims);
      let copy = copies.get(buffer);
      if (!copy) {
        copy = gpu.createBuffer({ size: buffer.byteLength, usage });
        copies.set(buffer, copy);
        send(copy, buffer, 0, buffer.byteLength);
      }
      return ort.Tensor.fromGpuBuffer(copy as never, { dataType: type as "float32", dims }) as unknown as OnnxValue;
    },
    renew({ buffer, byteOffset, byteLength }) {
      const copy = copies.get(buffer);
      if (copy) send(copy, buffer, byteOffset, byteLength);
    },
    drop({ buffer }) {
      const copy = copies.get(buffer);
      if (copy) dropped.push(copy);
      copies.delete(buffer);
    },
    close() {
      for (const copy of [...dropped.splice(0), ...copies.values()]) copy.destroy();
      copies.clear();
    },
  };
}
