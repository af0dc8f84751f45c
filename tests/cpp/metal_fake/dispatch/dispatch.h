// Stand-in for libdispatch's header: a task runs on a thread of its own.
#pragma once

extern "C" {
typedef struct dispatch_queue_s* dispatch_queue_t;
dispatch_queue_t dispatch_get_global_queue(long identifier, unsigned long flags);
void dispatch_async_f(dispatch_queue_t queue, void* context, void (*work)(void*));
}
