// A thread of the frame decoder (native.js): it helps in every frame until its page is closed.

import { instantiate } from "./native.js";

onmessage = async ({ data: { module, memory, decoder, thread, stack } }) => {
  const exports = await instantiate(module, memory);
  exports.__stack_pointer.value = stack;
  postMessage("ready");
  exports.worldmodel_help(decoder, thread);
};
