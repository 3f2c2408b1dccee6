// Drives libfade_tensorrt through its C++ interfaces, without TensorRT: links none of its libraries.
//
//   fade_tensorrt_harness LIBRARY          every callback of a build, and what is refused, without a GPU
//   fade_tensorrt_harness LIBRARY --gpu    and enqueue, against loops in double, on the first GPU
//
// One line for each check; the exit code is 1 where one fails.
#include <cstdio>
#include <cstring>

#include "tensorrt_library.h"

int main(int count, char** arguments) {
  bool const onGpu = count == 3 && std::strcmp(arguments[2], "--gpu") == 0;
  if (count != 2 && !onGpu) {
    std::fprintf(stderr, "usage: %s LIBRARY [--gpu]\n", arguments[0]);
    return 2;
  }
  using namespace fade::tests;
  Logger logger;
  LoggerFinder finder(&logger);
  Account account(logger);
  Library const library(arguments[1]);
  library.setLoggerFinder(&finder);
  checkLibrary(library, account);
  checkAttributes(library, account);
  checkBuilding(library, account);
  checkRunning(library, account);
  checkReference(account);
  if (onGpu) {
    checkOnGpu(library, account);
  } else {
    std::puts("skip enqueue: it needs a GPU, and --gpu");
  }
  checkWithoutLogger(library, account);
  std::printf("%s: %d checks, %d failed, headers of TensorRT %d\n", account.failures() == 0 ? "PASSED" : "FAILED",
              account.checks(), account.failures(), library.headers());
  return account.failures() == 0 ? 0 : 1;
}
