// A few threads that work on one frame together, phase by phase. A phase has items, which any thread may take; the one
// that ends the last item opens the next phase. So nobody waits for a thread that has no core just now, unless it holds
// an item. Awake for a while when there is nothing to take; asleep between frames.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "tiles.h"
#include "waiting.h"

namespace worldmodel {

// How a thread waits: spinning, then letting others run, then in short sleeps (who is waited for has lost its core).
class Patience {
 public:
  void wait() {
    constexpr int SPINS = 4000, YIELDS = 100;
    if (++waits_ < SPINS)
      breathe();
    else if (waits_ < SPINS + YIELDS)
      let_others_run();
    else
      sleep_shortly();
  }

 private:
  int waits_ = 0;
};

// What threads work on that are not ours: a page's workers.
class Helped {
 public:
  virtual ~Helped() = default;
  // Helps whenever there is work, and never returns while this lives.
  virtual void help(int thread) = 0;
};

class Threads {
 public:
  using Job = std::function<void(int phase, int item, int thread)>;
  static constexpr int MOST_ITEMS = 0xffff;

  // count: with the one that calls `run`.
  explicit Threads(int count) : count_(count), helpers_(count, [this](int thread) { work(thread); }) {}
  ~Threads() { bell_.close(); }
  int count() const { return count_; }

  // job for each item of each phase (1 to MOST_ITEMS items each); returns when all are through.
  void run(const std::vector<int> &items, const Job &job) {
    items_ = &items;
    job_ = &job;
    start_ = uint32_t(ticket_.load(std::memory_order_relaxed) >> 32);
    open(start_);
    if (count_ > 1) bell_.ring();
    help(0);
  }

  // Helps in every run until this ends.
  void work(int thread) {
    for (uint32_t seen = 0; bell_.wait(seen);) help(thread);
  }

 private:
  // A ticket: phase (counted for ever), its items, the next one to be taken. No items: there is nothing to do.
  static int items_of(uint64_t ticket) { return int(ticket >> 16 & 0xffff); }
  static int next_of(uint64_t ticket) { return int(ticket & 0xffff); }

  void open(uint32_t phase) {
    const uint32_t index = phase - start_;
    const uint64_t items = index < items_->size() ? uint64_t((*items_)[index]) : 0;
    done_.store(0, std::memory_order_relaxed);
    ticket_.store(uint64_t(phase) << 32 | items << 16, std::memory_order_release);
  }

  // Takes items until there are none for this frame.
  void help(int thread) {
    [[maybe_unused]] const TileRegisters registers;
    Patience patience;
    for (;;) {
      uint64_t ticket = ticket_.load(std::memory_order_acquire);
      if (items_of(ticket) == 0) return;
      if (next_of(ticket) >= items_of(ticket)) {
        patience.wait();
        continue;
      }
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      const uint32_t phase = uint32_t(ticket >> 32);  // it cannot end before this item does
      (*job_)(int(phase - start_), next_of(ticket), thread);
      if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == items_of(ticket)) open(phase + 1);
      patience = Patience();
    }
  }

  const int count_;
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int> done_{0};
  const std::vector<int> *items_ = nullptr;
  const Job *job_ = nullptr;
  uint32_t start_ = 0;
  Bell bell_;
  Helpers helpers_;  // last: they end before anything else does
};

}  // namespace worldmodel
