// AudioWorklet: sends what the microphone hears to the page, in blocks of 1,024 samples.

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(1024);
    this.count = 0;
  }

  process([[samples]]) {
    for (const value of samples ?? []) {
      this.block[this.count++] = value;
      if (this.count === this.block.length) {
        this.port.postMessage(this.block, [this.block.buffer]);
        this.block = new Float32Array(1024);
        this.count = 0;
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
