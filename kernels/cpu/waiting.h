// What threads need of a system: to wait for each other for a short time, and to sleep until there is work.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>
#if defined(__wasm__)
#include <climits>
#else
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#endif

namespace worldmodel {

inline void breathe() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

#if defined(__wasm__)

inline void let_others_run() {}
inline void sleep_shortly() {
  constexpr int64_t NANOSECONDS = 50000;
  static int32_t nobody_changes_this = 0;
  __builtin_wasm_memory_atomic_wait32(&nobody_changes_this, 0, NANOSECONDS);
}

// Rings for those who sleep.
class Bell {
 public:
  void ring() {
    rounds_.fetch_add(2, std::memory_order_acq_rel);
    wake();
  }
  void close() {
    rounds_.fetch_or(1, std::memory_order_acq_rel);
    wake();
  }
  // Sleeps until it has rung since `seen`, which becomes what is seen now. Whether it goes on.
  bool wait(uint32_t &seen) {
    uint32_t now;
    while ((now = rounds_.load(std::memory_order_acquire)) == seen)
      __builtin_wasm_memory_atomic_wait32(address(), int32_t(seen), -1);
    seen = now;
    return !(now & 1);
  }

 private:
  int32_t *address() { return reinterpret_cast<int32_t *>(&rounds_); }
  void wake() { __builtin_wasm_memory_atomic_notify(address(), UINT_MAX); }
  std::atomic<uint32_t> rounds_{0};  // odd: closed
};

// Threads are the page's workers: each of them calls `work` itself.
class Helpers {
 public:
  Helpers(int, const std::function<void(int)> &) {}
};

#else

inline void let_others_run() { std::this_thread::yield(); }
inline void sleep_shortly() { std::this_thread::sleep_for(std::chrono::microseconds(50)); }

// Rings for those who sleep.
class Bell {
 public:
  void ring() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ++rounds_;
    }
    wake_.notify_all();
  }
  void close() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
    }
    wake_.notify_all();
  }
  // Sleeps until it has rung since `seen`, which becomes what is seen now. Whether it goes on.
  bool wait(uint32_t &seen) {
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [&] { return closed_ || rounds_ != seen; });
    seen = rounds_;
    return !closed_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  uint32_t rounds_ = 0;
  bool closed_ = false;
};

// Threads 1..count - 1, each at `work`.
class Helpers {
 public:
  Helpers(int count, const std::function<void(int)> &work) {
    for (int index = 1; index < count; ++index) threads_.emplace_back(work, index);
  }
  ~Helpers() {
    for (auto &thread : threads_) thread.join();
  }

 private:
  std::vector<std::thread> threads_;
};

#endif

}  // namespace worldmodel
