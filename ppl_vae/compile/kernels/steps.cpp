// A step that Inductor has compiled, taken for one batch after the other without going back to Python in between.

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#ifndef STABLE_TORCH_ERROR_CODE_CHECK // as torch 2.13 calls it
#define STABLE_TORCH_ERROR_CODE_CHECK TORCH_ERROR_CODE_CHECK
#endif

#include <vector>

extern "C" {
int PyGILState_Ensure();
void PyGILState_Release(int);
}

using torch::stable::Tensor;

namespace {

// generated code gives up the interpreter's lock while it computes, and takes it for granted that it has it
struct Locked {
  int state = PyGILState_Ensure();
  ~Locked() { PyGILState_Release(state); }
};

// `entry`, a generated function without results, is called for each `each` of `varying`; its inputs are at the places
// `order` of `lasting`, followed by those of the call
void steps(int64_t entry, std::vector<Tensor> lasting, std::vector<Tensor> varying, int64_t each,
           std::vector<int64_t> order) {
  int64_t always = lasting.size(), all = varying.size();
  STD_TORCH_CHECK(each > 0 && all % each == 0, "expected as many tensors for each step");
  for (int64_t place : order) STD_TORCH_CHECK(place >= 0 && place < always + each, "expected places of tensors");
  auto step = reinterpret_cast<void (*)(AtenTensorHandle*, AtenTensorHandle*)>(entry);
  std::vector<AtenTensorHandle> inputs(order.size());
  Locked lock;
  for (int64_t begin = 0; begin < all; begin += each) {
    for (size_t i = 0; i < order.size(); i++) {
      const Tensor& tensor = order[i] < always ? lasting[order[i]] : varying[begin + order[i] - always];
      STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_new_tensor_handle(tensor.get(), &inputs[i]));
    }
    step(inputs.data(), nullptr);  // which owns what it is given
  }
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(ppl_vae, library) {
  library.def("steps(int entry, Tensor[] lasting, Tensor[] varying, int each, int[] order) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(ppl_vae, CPU, library) { library.impl("steps", TORCH_BOX(&steps)); }
