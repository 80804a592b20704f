// left @ weight.T + bias in float32 on processors with AVX-512, for code that Inductor generates.
//
// Small products: columns are taken 64 at a time, as four vectors, and rows 6 at a time, so that the 24 sums stay in
// registers. Where 64 columns do not lie side by side, they are first copied so. Large products, where it matters
// what fits into which cache, are oneDNN's.

#include <immintrin.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

using Tensor = struct AtenTensorOpaque*;
using Error = int32_t;

extern "C" {  // of torch, whose names are stable
Error aoti_torch_get_data_ptr(Tensor tensor, void** data);
Error aoti_torch_get_sizes(Tensor tensor, int64_t** sizes);
Error aoti_torch_get_strides(Tensor tensor, int64_t** strides);
Error aoti_torch_get_dtype(Tensor tensor, int32_t* dtype);
Error aoti_torch_get_device_type(Tensor tensor, int32_t* device);
Error aoti_torch_empty_strided(int64_t dims, const int64_t* sizes, const int64_t* strides, int32_t dtype,
                               int32_t device, int32_t index, Tensor* result);
Error aoti_torch_cpu__linear_pointwise(Tensor left, Tensor weight, Tensor* bias, const char* attribute,
                                       const double** scalars, int64_t many, const char** algorithm, Tensor* result);
}

namespace {

typedef float Vector __attribute__((vector_size(64), aligned(4), may_alias));
constexpr int WIDTH = 16, VECTORS = 4, COLUMNS = WIDTH * VECTORS, ROWS = 6;
constexpr int64_t LARGE = 8'000'000;  // operations, two per multiplication

struct Matrix {
  const float* data;
  int64_t row, column;  // strides
};

template <int S, int... J>
void exchange(Vector& x, Vector& y, std::integer_sequence<int, J...>) {
  Vector low = __builtin_shufflevector(x, y, (J & S ? WIDTH + J - S : J)...);
  y = __builtin_shufflevector(x, y, (J & S ? WIDTH + J : J + S)...);
  x = low;
}

template <int S>
void exchange(Vector* v) {
#pragma GCC unroll 16
  for (int r = 0; r < WIDTH; r++)
    if (!(r & S)) exchange<S>(v[r], v[r + S], std::make_integer_sequence<int, WIDTH>());
}

void transpose(Vector* v) {
  exchange<1>(v);
  exchange<2>(v);
  exchange<4>(v);
  exchange<8>(v);
}

// `count` columns side by side, and zeros up to COLUMNS
void pack(Matrix b, int64_t rows, int count, float* packed) {
  int64_t k = 0;
  if (b.row == 1 && count == COLUMNS) {
    for (; k + WIDTH <= rows; k += WIDTH)
      for (int c = 0; c < COLUMNS; c += WIDTH) {
        Vector v[WIDTH];
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; i++) v[i] = *(const Vector*)(b.data + k + (c + i) * b.column);
        transpose(v);
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; i++) *(Vector*)(packed + (k + i) * COLUMNS + c) = v[i];
      }
  }
  for (; k < rows; k++)
    for (int c = 0; c < COLUMNS; c++) packed[k * COLUMNS + c] = c < count ? b.data[k * b.row + c * b.column] : 0;
}

// R rows of `a` times COLUMNS columns that lie side by side, added to `sums`
template <int R>
void tile(Matrix a, const float* b, int64_t stride, int64_t inner, Vector (*sums)[VECTORS]) {
  __m512 s[R][VECTORS];  // in registers: every loop over it is unrolled
#pragma GCC unroll 6
  for (int i = 0; i < R; i++)
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) s[i][j] = sums[i][j];
  for (int64_t k = 0; k < inner; k++, b += stride, a.data += a.column) {
    Vector x[VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) x[j] = ((const Vector*)b)[j];
#pragma GCC unroll 6
    for (int i = 0; i < R; i++)
#pragma GCC unroll 4
      for (int j = 0; j < VECTORS; j++) s[i][j] = _mm512_fmadd_ps(_mm512_set1_ps(a.data[i * a.row]), x[j], s[i][j]);
  }
#pragma GCC unroll 6
  for (int i = 0; i < R; i++)
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) sums[i][j] = s[i][j];
}

constexpr decltype(&tile<1>) TILES[] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

bool multiply(int64_t rows, int64_t columns, int64_t inner, Matrix a, Matrix b, const float* bias, float* result) {
  auto packed = static_cast<float*>(aligned_alloc(64, sizeof(float) * COLUMNS * (inner + 1)));
  if (!packed) return false;
  for (int64_t n = 0; n < columns; n += COLUMNS) {
    int count = columns - n < COLUMNS ? columns - n : COLUMNS;
    Matrix panel = {b.data + n * b.column, b.row, b.column};
    if (b.column != 1 || count < COLUMNS) {
      pack(panel, inner, count, packed);
      panel = {packed, COLUMNS, 1};
    }
    float start[COLUMNS] = {0};
    if (bias) memcpy(start, bias + n, sizeof(float) * count);
    for (int64_t m = 0; m < rows; m += ROWS) {
      int height = rows - m < ROWS ? rows - m : ROWS;
      Vector sums[ROWS][VECTORS];
      for (int i = 0; i < height; i++) memcpy(sums[i], start, sizeof start);
      TILES[height]({a.data + m * a.row, a.row, a.column}, panel.data, panel.row, inner, sums);
      for (int i = 0; i < height; i++) memcpy(result + (m + i) * columns + n, sums[i], sizeof(float) * count);
    }
  }
  free(packed);
  return true;
}

Error matrix(Tensor tensor, Matrix* found, int64_t** sizes) {
  void* data;
  int64_t* strides;
  Error error = aoti_torch_get_data_ptr(tensor, &data) | aoti_torch_get_sizes(tensor, sizes) |
                aoti_torch_get_strides(tensor, &strides);
  if (!error) *found = {static_cast<float*>(data), strides[0], strides[1]};
  return error;
}

}  // namespace

extern "C" Error aoti_torch_cpu_product(Tensor left, Tensor weight, Tensor* bias, Tensor* result) {
  Matrix a, w;
  int64_t *shape, *weights;
  int32_t dtype, device;
  if (Error error = matrix(left, &a, &shape) | matrix(weight, &w, &weights) | aoti_torch_get_dtype(left, &dtype) |
                    aoti_torch_get_device_type(left, &device))
    return error;
  int64_t rows = shape[0], inner = shape[1], columns = weights[0];
  if (2 * rows * inner * columns >= LARGE)
    return aoti_torch_cpu__linear_pointwise(left, weight, bias, "none", nullptr, 0, nullptr, result);
  int64_t sizes[] = {rows, columns}, strides[] = {columns, 1};
  void *added = nullptr, *out;
  if (bias)
    if (Error error = aoti_torch_get_data_ptr(*bias, &added)) return error;
  if (Error error = aoti_torch_empty_strided(2, sizes, strides, dtype, device, 0, result)) return error;
  if (Error error = aoti_torch_get_data_ptr(*result, &out)) return error;
  Matrix b = {w.data, w.column, w.row};
  return !multiply(rows, columns, inner, a, b, static_cast<float*>(added), static_cast<float*>(out));
}
