-- Send a hint, on which nothing depends. A channel that begins with a hash tag is of one slot.
local function hint(channel, message)
  redis.pcall(string.sub(channel or '', 1, 1) == '{' and 'SPUBLISH' or 'PUBLISH', channel, message)
end
