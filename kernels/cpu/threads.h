// A few threads that work on one frame together. Between its steps they wait for each other awake, for a while; between
// frames they sleep.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace worldmodel {

inline void breathe() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Until ready(): spinning, then letting others run, then in short sleeps (the thread that is waited for has lost its core).
template <class Ready>
inline void wait_for(Ready &&ready) {
  constexpr int SPINS = 4000, YIELDS = 100;
  for (int i = 0; i < SPINS; ++i) {
    if (ready()) return;
    breathe();
  }
  for (int i = 0; i < YIELDS; ++i) {
    if (ready()) return;
    std::this_thread::yield();
  }
  while (!ready()) std::this_thread::sleep_for(std::chrono::microseconds(50));
}

class Threads {
 public:
  // count: with the one that calls `run`.
  explicit Threads(int count) : count_(count) {
    for (int index = 1; index < count; ++index) workers_.emplace_back([this, index] { work(index); });
  }
  ~Threads() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      ++round_;
    }
    wake_.notify_all();
    for (auto &worker : workers_) worker.join();
  }
  int count() const { return count_; }

  // job(index) on each thread, index 0 on this one; returns when all are through.
  void run(const std::function<void(int)> &job) {
    if (count_ == 1) return job(0);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      ++round_;
    }
    wake_.notify_all();
    job(0);
    meet();
  }

  // Returns when all threads of a job have come here.
  void meet() {
    if (count_ == 1) return;
    const int turn = turn_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == count_ - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      turn_.store(turn + 1, std::memory_order_release);
    } else {
      wait_for([&] { return turn_.load(std::memory_order_acquire) != turn; });
    }
  }

 private:
  void work(int index) {
    for (uint64_t done = 0;;) {
      const std::function<void(int)> *job;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return round_ != done; });
        if (stopping_) return;
        done = round_;
        job = job_;
      }
      (*job)(index);
      meet();
    }
  }

  const int count_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> turn_{0};
  alignas(64) std::mutex mutex_;
  std::condition_variable wake_;
  const std::function<void(int)> *job_ = nullptr;
  uint64_t round_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> workers_;
};

}  // namespace worldmodel
