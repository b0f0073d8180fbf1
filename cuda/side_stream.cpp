#include "cuda/side_stream.h"

namespace normtune::cuda {

SideStream::SideStream(const Stream& main, const Stream& side, size_t num_slots) : main_(main), side_(side) {
  side_.use();
  begun_ = make_event();
  for (size_t slot = 0; slot < num_slots; ++slot) done_.push_back(make_event());
}

void SideStream::run(size_t slot, const std::function<void()>& work) {
  check_cuda(cudaEventRecord(begun_, main_.use()), "cudaEventRecord");
  check_cuda(cudaStreamWaitEvent(side_.use(), begun_, 0), "cudaStreamWaitEvent");
  work();
  check_cuda(cudaEventRecord(done_[slot], side_.use()), "cudaEventRecord");
}

void SideStream::wait(size_t slot) {
  check_cuda(cudaStreamWaitEvent(main_.use(), done_[slot], 0), "cudaStreamWaitEvent");
}

}  // namespace normtune::cuda
