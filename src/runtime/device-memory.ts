/** Copies of host memory that lie on the device a program runs on, so that an argument that changes in part is not sent whole in every run. */
import type { Device, ValueMaker } from "./program.ts";

export interface DeviceMemory {
  /**
   * An argument whose data begins where its buffer does, as the device has it: a copy of the whole buffer is made when it is first asked for.
   * What the device cannot hold in one piece stays where it is.
   */
  readonly value: ValueMaker;
  /** Sends a part of a buffer anew, if there is a copy of it. Begin and length are multiples of 4 bytes. */
  renew(part: ArrayBufferView): void;
  /** The copy of an array's buffer is needed no more, once what runs now has ended: it goes before the next argument is made. */
  drop(whole: ArrayBufferView): void;
  /** Ends all copies. Nothing may run with them. */
  close(): void;
}

/** Undefined where the runtime's device cannot be reached: under Node, whose runtime keeps it to itself. */
export const deviceMemory = async (_: Device): Promise<DeviceMemory | undefined> => undefined;
