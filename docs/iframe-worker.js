// Search in pages that are opened as files: browsers start no workers for these, so the worker's script runs in a hidden frame.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(address) {
      super();
      this.waiting = [];
      const frame = Object.assign(document.createElement("iframe"), { hidden: true });
      document.body.append(frame);
      const inside = (this.inside = frame.contentWindow);
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const load = (source) =>
        new Promise((done, fail) => {
          const script = inside.document.createElement("script");
          inside.document.body.append(Object.assign(script, { src: source, onload: done, onerror: fail }));
        });
      inside.importScripts = async (...sources) => {
        for (const source of sources) await load(source);
      };
      load(address).then(() => {
        this.waiting.forEach((data) => this.hand(data));
        this.waiting = null;
      });
    }
    hand(data) {
      this.inside.dispatchEvent(new MessageEvent("message", { data }));
    }
    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else this.hand(data);
    }
  };
  window.Worker = window.IFrameWorker;
}
