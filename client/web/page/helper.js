// A thread of compiled code (native.js): it helps whenever there is work, until its page is closed.

import { instantiate } from "./native.js";

onmessage = async ({ data: { module, memory, handle, thread, stack } }) => {
  const exports = await instantiate(module, memory);
  exports.__stack_pointer.value = stack;
  postMessage("ready");
  exports.worldmodel_help(handle, thread);
};
