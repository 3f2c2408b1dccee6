// Everything of one instruction set, chosen by the arguments; included once by each level_*.cpp.
#pragma once

#include "head.h"
#include "upsample.h"

namespace fade {
namespace FADE_LEVEL {

typedef void (*Piece)(void* context, size_t slot);

template <typename T, int kSize>
static Piece upsamplePieceOf(int32_t scale) {
  switch (scale) {
    case 1: return upsamplePiece<T, kSize, 1>;
    case 2: return upsamplePiece<T, kSize, 2>;
    default: return upsamplePiece<T, kSize, 4>;
  }
}
template <typename T>
static Piece upsamplePieceOf(int32_t kernelSize, int32_t scale) {
  switch (kernelSize) {
    case 1: return upsamplePieceOf<T, 1>(scale);
    case 3: return upsamplePieceOf<T, 3>(scale);
    case 5: return upsamplePieceOf<T, 5>(scale);
    default: return upsamplePieceOf<T, 7>(scale);
  }
}

template <typename T, int kSize>
static Piece headPieceOf(int32_t scale) {
  switch (scale) {
    case 1: return headPiece<T, kSize, 1>;
    case 2: return headPiece<T, kSize, 2>;
    default: return headPiece<T, kSize, 4>;
  }
}
template <typename T>
static Piece headPieceOf(int32_t kernelSize, int32_t scale) {
  switch (kernelSize) {
    case 1: return headPieceOf<T, 1>(scale);
    case 3: return headPieceOf<T, 3>(scale);
    case 5: return headPieceOf<T, 5>(scale);
    default: return headPieceOf<T, 7>(scale);
  }
}

static char* aligned(void* scratch) {
  return reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(scratch) + (kAlignment - 1)) & ~uintptr_t{kAlignment - 1});
}

static void runPieces(Parallel const& parallel, Piece piece, int64_t pieces, void* context) {
  if (parallel.run == nullptr || pieces == 1) {
    for (int64_t i = 0; i < pieces; ++i) piece(context, static_cast<size_t>(i));
  } else {
    parallel.run(parallel.pool, piece, static_cast<size_t>(pieces), context);
  }
}

static size_t upsampleScratch(UpsampleArguments const& arguments, int64_t threads) {
  UpsamplePlan const plan = planUpsample(arguments, threads);
  return static_cast<size_t>(plan.slots) * slotBytes(plan) + kAlignment;
}

static void upsample(UpsampleArguments const& arguments, void* scratch, int64_t threads, Parallel const& parallel) {
  UpsampleCall call;
  call.arguments = &arguments;
  call.plan = planUpsample(arguments, threads);
  call.scratch = aligned(scratch);
  call.taken = 0;
  runPieces(parallel,
            arguments.type == DataType::kFloat32
                ? upsamplePieceOf<float>(arguments.kernelSize, arguments.scale)
                : upsamplePieceOf<Half>(arguments.kernelSize, arguments.scale),
            call.plan.slots, &call);
}

static size_t headScratch(HeadArguments const& arguments, int64_t threads) {
  HeadPlan const plan = planHead(arguments, threads);
  return static_cast<size_t>((sharedFloats(plan) + plan.slots * slotFloats(plan)) * 4 + kAlignment);
}

static void head(HeadArguments const& arguments, void* scratch, int64_t threads, Parallel const& parallel) {
  HeadCall call;
  call.arguments = &arguments;
  call.plan = planHead(arguments, threads);
  call.scratch = reinterpret_cast<float*>(aligned(scratch));
  call.packPieces = threads;
  call.taken = 0;
  bool const wide = arguments.type == DataType::kFloat32;
  runPieces(parallel, wide ? packPiece<float> : packPiece<Half>, call.packPieces, &call);
  runPieces(parallel,
            wide ? headPieceOf<float>(arguments.kernelSize, arguments.scale)
                 : headPieceOf<Half>(arguments.kernelSize, arguments.scale),
            call.plan.slots, &call);
}

}  // namespace FADE_LEVEL
}  // namespace fade
