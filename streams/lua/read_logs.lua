#!lua flags=no-writes
--[[
  Read what follows an entry in each of several logs of one server, bounded in entries and bytes.

  KEYS[1..]  log  STREAM

  ARGV[1]   most entries of each log
  ARGV[2]   most bytes of all entries; the first one counts whatever its size
  ARGV[3..] for each log the entry id after which to read

  Returns  {"read", is_cut, place, entries, ...}   for each log that has something: its place from 0
           on, and its entries, as XRANGE has them, or the text of an error, which is of this log
           alone. is_cut is 1 where the bytes ended it: there may be more in the last log, and in
           those behind it
]]
--- @include "check_key"
local most, limit, size, call = whole(ARGV[1]), whole(ARGV[2]), 0, redis.pcall
if not (most and limit and #ARGV == #KEYS + 2) then return redis.error_reply('ERR an argument is not of its type') end
local outcome = { 'read', 0 }

-- Read a page of few entries: no more of them than these are in the server's memory.
local function page_of(log, after, left) return call('XRANGE', log, '(' .. after, '+', 'COUNT', math.min(16, left)) end

-- Add the entries of pages to `rows`; return the text of an error, and whether the bytes have ended it.
local function add_all(rows, log, page)
  while #page > 0 do
    for _, row in ipairs(page) do
      local bytes = #row[1]
      for _, text in ipairs(row[2]) do bytes = bytes + #text end
      if size > 0 and size + bytes > limit then return nil, true end
      rows[#rows + 1], size = row, size + bytes
    end
    if #page < 16 or #rows >= most then return end
    page = page_of(log, rows[#rows][1], most - #rows)
  end
  return page.err
end

for i, log in ipairs(KEYS) do
  local rows, page = {}, page_of(log, ARGV[i + 2], most)
  if page.err or page[1] then -- most have nothing
    local why, is_cut = add_all(rows, log, page)
    if why or rows[1] then outcome[#outcome + 1], outcome[#outcome + 2] = i - 1, why or rows end
    if is_cut then outcome[2] = 1 return outcome end
  end
end
return outcome
